/** Answers requests of benchmarks.clients.latency, one a line: subnet, tab, text in, milliseconds out. */

import gearshift.Engine;
import gearshift.LoadOptions;
import java.io.BufferedReader;
import java.io.File;
import java.io.InputStreamReader;

public class Calls {
    public static void main(String[] arguments) throws Exception {
        try (Engine engine = Engine.load(new File(arguments[0]), new LoadOptions(arguments[1]))) {
            System.out.println("ready");
            BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                String[] parts = line.split("\t");
                engine.pin(parts[0]);
                long began = System.nanoTime();
                engine.run(parts[1]);
                System.out.println((System.nanoTime() - began) / 1e6);
            }
        }
    }
}
