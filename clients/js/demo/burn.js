/** A worker that does nothing but take a core. */
for (;;);
