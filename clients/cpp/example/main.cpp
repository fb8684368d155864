// example BUNDLE TEXT [DEADLINE_MS]: answers one text, and says which subnet did.

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <optional>
#include <string>

#include "gearshift/gearshift.h"

int main(int count, char** arguments) {
  if (count < 3) {
    std::fprintf(stderr, "usage: example BUNDLE TEXT [DEADLINE_MS]\n");
    return 2;
  }
  try {
    gearshift::LoadOptions options;
    options.precision = "int8";
    gearshift::Engine engine = gearshift::Engine::load(arguments[1], options);
    const std::optional<double> deadline = count > 3 ? std::optional(std::atof(arguments[3])) : std::nullopt;
    const gearshift::Answer answer = engine.run(arguments[2], deadline);
    if (!answer.label.empty()) std::printf("%s %.3f", answer.label.c_str(), answer.score);
    else std::printf("%zu numbers", answer.vector.empty() ? 1 : answer.vector.size());
    std::printf(" by %s in %.2f ms (%s)\n", answer.subnet.c_str(), answer.latency_ms, answer.reason.c_str());
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
