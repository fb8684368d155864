// The engine: loading, choosing, deadlines, kept tables, and one typed error for whatever is wrong.

#include <atomic>
#include <cstdio>
#include <filesystem>
#include <random>
#include <thread>

#include "hash.h"
#include "testing.h"

using gearshift::Engine;
using gearshift::LoadOptions;
using testing::refused;
using testing::require;
namespace fs = std::filesystem;

namespace {

LoadOptions options_of(const gearshift::LatencyTable& table, const std::string& precision = "fp32") {
  LoadOptions options;
  options.precision = precision;
  options.table = table;
  return options;
}

void check_answers(const std::string& tiny, const gearshift::LatencyTable& table) {
  Engine engine = Engine::load(tiny, options_of(table));
  const gearshift::Answer answer = engine.run("turn the lights off", 1e4);
  require(answer.label == "lights_off" && answer.scores.at("lights_off") == answer.score, "another label, " + answer.label);
  require(answer.reason == "fits" && answer.subnet == engine.ladder()[0], "another choice");
  require(answer.deadline_met == true && answer.tokens == 6 && !answer.truncated, "other facts");
  require(answer.latency_ms > 0 && answer.predicted_ms > 0, "no times");
  require(engine.run("turn the lights off").reason == "no_deadline", "a deadline from nowhere");
  require(engine.run("turn the lights off", 1e-3).reason == "best_effort", "a deadline that cannot be kept");
  require(engine.slow_down() > 0, "no slow-down");
}

void check_pins(const std::string& tiny, const gearshift::LatencyTable& table) {
  Engine engine = Engine::load(tiny, options_of(table, "int8"));
  engine.pin("w025-d050");
  refused("UnknownSubnetError", "^unknown subnet 'w1'; this bundle has w100-d100, ", [&] { engine.pin("w1"); });
  const gearshift::Answer answer = engine.run("play some music", 1e4);
  require(answer.subnet == "w025-d050" && answer.reason == "pinned", "not pinned");
  engine.pin(std::nullopt);
  require(engine.run("play some music", 1e4).reason == "fits", "still pinned");
}

void check_threads(const std::string& tiny, const gearshift::LatencyTable& table) {
  Engine engine = Engine::load(tiny, options_of(table));
  const std::string alone = engine.run("stop the timer").label;
  std::atomic<int> same{0};
  std::vector<std::thread> threads;
  for (int number = 0; number < 4; ++number)
    threads.emplace_back([&] {
      for (int time = 0; time < 5; ++time) same += engine.run("stop the timer", 1e4).label == alone;
    });
  for (std::thread& thread : threads) thread.join();
  require(same == 20, "other answers of several threads");
}

void check_bad_input(const std::string& tiny, const gearshift::LatencyTable& table) {
  Engine engine = Engine::load(tiny, options_of(table));
  for (const char* text : {"", " \n", "\xff", "\xed\xa0\x80"}) refused("InputError", "", [&] { engine.run(text); });
  refused("InputError", "", [&] { engine.run(gearshift::Text("a", "")); });
  for (const double deadline : {-1.0, 0.0, static_cast<double>(NAN), static_cast<double>(INFINITY)})
    refused("InputError", "^deadline_ms: expected a positive number of milliseconds or None, got ", [&] { engine.run("a", deadline); });
  require(!engine.run("turn the lights off").label.empty(), "no answer afterwards");
  engine.close();
  refused("EngineClosedError", "^the engine is closed; load it again$", [&] { engine.run("a"); });
}

void check_options(const std::string& tiny, const gearshift::LatencyTable& table) {
  const auto change = [&](const std::function<void(LoadOptions&)>& set) {
    LoadOptions options = options_of(table);
    set(options);
    Engine::load(tiny, options);
  };
  const std::string threads = "^threads: expected a whole number from 1 to 1024, got 0$";
  refused("InputError", threads, [&] { change([](LoadOptions& one) { one.threads = 0; }); });
  refused("InputError", "^target: expected a share of deadlines from 0.5 to below 1, got 1$",
          [&] { change([](LoadOptions& one) { one.objective.target = 1; }); });
  refused("InputError", "^late_value: expected a share from 0 to 1, got 2$",
          [&] { change([](LoadOptions& one) { one.objective.late_value = 2; }); });
  refused("InputError", "^on_miss: expected best_effort or reject, got 'x'$",
          [&] { change([](LoadOptions& one) { one.objective.on_miss = "x"; }); });
  refused("InputError", "^min_accuracy: expected at most 0\\.676, that of \\S+, the best on this device's ladder, got 1$",
          [&] { change([](LoadOptions& one) { one.objective.min_accuracy = 1; }); });
  refused("SchemaError", "no fp16 graph in this bundle; it has fp32, int8$", [&] { change([](LoadOptions& one) { one.precision = "fp16"; }); });
  refused("InputError", "^files: expected a function `read` that gives the bytes of a file, got none$",
          [&] { Engine::load(gearshift::Files{"assets", nullptr}, options_of(table)); });
  refused("ProfileError", "expected positive milliseconds of every subnet", [&] {
    change([](LoadOptions& one) { one.table = gearshift::LatencyTable{{8}, {}}; });
  });
}

void check_rejection(const std::string& tiny, const gearshift::LatencyTable& table) {
  LoadOptions options = options_of(table);
  options.objective.on_miss = "reject";
  Engine engine = Engine::load(tiny, options);
  engine.run("one");
  refused("DeadlineTooShortError", "^refused: ", [&] { engine.run("two", 0.001); });
}

void check_kept(const std::string& made, const fs::path& scratch) {
  LoadOptions options;
  options.precision = "fp32";
  options.tables = (scratch / "latencies.json").string();
  const std::string tiny = made + "/tiny.gearshift";
  const gearshift::LatencyTable first = Engine::load(tiny, options).table();
  require(first.lengths == std::vector<int>{8, 32}, "other lengths");
  require(Engine::load(tiny, options).table().median_ms == first.median_ms, "timed again");
  options.precision = "int8";
  Engine::load(tiny, options);
  options.precision = "fp32";
  Engine::load(made + "/regression.gearshift", options);
  require(Engine::load(tiny, options).table().median_ms == first.median_ms, "lost as others were kept");
  std::ofstream(options.tables) << R"({"schema_version": 1, "tables": [{"manifest": 1}]})";
  require(Engine::load(tiny, options).table().lengths.size() == 2, "a file of another form");
  options.tables = (scratch / "none" / "x").string();
  Engine::load(tiny, options);  // a directory that is not there keeps nothing
}

// A table that an app ships is used in place of timing, from memory as from a directory.
void check_shipped(const std::string& made) {
  const gearshift::Files folder = gearshift::directory(made + "/embedded.gearshift");
  const std::string manifest = testing::content_of(made + "/embedded.gearshift/manifest.json");
  LoadOptions options;
  options.precision = "int8";
  gearshift::LatencyTable table = Engine::load(folder, options).table();
  for (auto& [name, times] : table.median_ms) times = {40, 80};
  options.table = table;
  require(Engine::load(folder, options).table().median_ms.begin()->second[0] == 40, "not the table that was given");
  const std::string sha = gearshift::detail::Sha256::hex(gearshift::detail::Bytes(manifest.begin(), manifest.end()));
  const auto load = [&](const std::string& entry) {
    gearshift::Files files = folder;
    files.read = [&, entry](const std::string& name, std::size_t at_most) {
      if (name != "latencies.json") return folder.read(name, at_most);
      const std::string content = "{\"schema_version\": 1, \"tables\": [" + entry + "]}";
      return std::vector<std::uint8_t>(content.begin(), content.end());
    };
    LoadOptions plain;
    plain.precision = "int8";
    return Engine::load(files, plain).table().median_ms.begin()->second[0] == 40;
  };
  std::string times;
  for (const auto& [name, medians] : table.median_ms) times += (times.empty() ? "\"" : ", \"") + name + "\": [40, 80]";
  const auto entry = [&](const std::string& of, const std::string& threads, const std::string& medians) {
    return "{\"manifest\": \"" + of + "\", \"precision\": \"int8\", \"threads\": " + threads +
           ", \"device\": null, \"lengths\": [8, 32], \"median_ms\": {" + medians + "}}";
  };
  require(load(entry("0", "1", times) + ", " + entry(sha, "1", times)), "not used");
  require(!load(entry("0", "1", times)), "that of another manifest");
  require(!load(entry(sha, "2", times)), "that of more threads");
  require(!load(entry(sha, "1", "")), "one without times");
}

}  // namespace

int main(int, char** arguments) {
  const std::string made = arguments[1], tiny = made + "/tiny.gearshift";
  const fs::path scratch = fs::temp_directory_path() / ("gearshift-" + std::to_string(std::random_device{}()));
  fs::create_directories(scratch);
  testing::Suite suite;
  gearshift::LatencyTable table;
  suite.test("subnets are timed", [&] {
    LoadOptions options;
    options.precision = "fp32";
    table = Engine::load(tiny, options).table();
  });
  suite.test("an answer says what ran, and why", [&] { check_answers(tiny, table); });
  suite.test("a pinned subnet answers, another is refused", [&] { check_pins(tiny, table); });
  suite.test("threads share an engine", [&] { check_threads(tiny, table); });
  suite.test("bad input is refused, and the next request is answered", [&] { check_bad_input(tiny, table); });
  suite.test("options that cannot be used are refused", [&] { check_options(tiny, table); });
  suite.test("a deadline that nothing keeps is refused where that was asked for", [&] { check_rejection(tiny, table); });
  suite.test("tables are timed once, kept, and timed again where they are of another form", [&] { check_kept(made, scratch); });
  suite.test("a table that an app ships is used if it is of this manifest and whole", [&] { check_shipped(made); });
  suite.test("a DAN is a rung, is timed, and answers where it is pinned", [&] {
    LoadOptions options;
    options.precision = "fp32";
    Engine engine = Engine::load(made + "/dan.gearshift", options);
    require(engine.table().median_ms.at("dan")[0] > 0, "not timed");
    engine.pin("dan");
    const gearshift::Answer answer = engine.run("turn the lights off", 1e4);
    require(answer.subnet == "dan" && answer.reason == "pinned" && !answer.label.empty(), "another answer");
  });
  suite.test("without a precision the faster one answers", [&] {
    const std::string precision = Engine::load(tiny).precision();
    require(precision == "fp32" || precision == "int8", precision);
  });
  suite.test("a folder that is not there is refused", [&] {
    refused("BundleError", "expected a bundle directory, found no such directory; make one with", [&] { Engine::load(made + "/none"); });
  });
  for (const auto& one : testing::json_of(made + "/refused.json").list)
    suite.test(one.at("what").text + " is refused", [&] {
      refused(one.at("error").text, one.at("pattern").text, [&] { Engine::load(made + "/" + one.at("folder").text, options_of(table)); });
    });
  fs::remove_all(scratch);
  return suite.ended();
}
