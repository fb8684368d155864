"""CycleGAN made small: a generator is distilled, cut and made elastic (docs/gan.md)."""
