// Answers requests of benchmarks.clients.latency, one a line: subnet, tab, text in, milliseconds out.

#include <chrono>
#include <iostream>
#include <string>

#include "gearshift/gearshift.h"

int main(int, char** arguments) {
  gearshift::LoadOptions options;
  options.precision = arguments[2];
  gearshift::Engine engine = gearshift::Engine::load(arguments[1], options);
  std::cout << "ready" << std::endl;
  for (std::string line; std::getline(std::cin, line);) {
    const std::size_t tab = line.find('\t');
    engine.pin(line.substr(0, tab));
    const std::string text = line.substr(tab + 1);
    const auto began = std::chrono::steady_clock::now();
    engine.run(text);
    std::cout << std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - began).count() << std::endl;
  }
}
