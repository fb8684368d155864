// The engine: answers each text with the most accurate subnet that keeps its deadline. The only source to compile.

#include "gearshift/gearshift.h"

#include <atomic>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <thread>
#include <utility>

#include "answers.h"
#include "bundle.h"
#include "policy/controller.h"
#include "timing.h"
#include "words.h"

namespace gearshift {

using namespace detail;
namespace fs = std::filesystem;

namespace {

// Time in ms kept out of the slack for what follows the graph.
constexpr double finish_ms = 0.2;

// Directories that files of a bundle may be links to: the `blobs` of a hub cache that the bundle is in.
bool is_own(const fs::path& found, const fs::path& own) {
  if (found.parent_path() == own) return true;
  for (fs::path above = own; above.has_relative_path(); above = above.parent_path())
    if (above.filename() == "snapshots" && found.parent_path() == above.parent_path() / "blobs") return true;
  return false;
}

Bytes content_of(const std::string& folder, const std::string& name, std::size_t at_most) {
  const std::string where = folder + "/" + name;
  std::error_code error;
  const fs::path found = fs::canonical(where, error), own = fs::canonical(folder, error);
  if (error || found.empty()) throw IntegrityError(where + ": missing; copy the bundle again");
  if (!is_own(found, own))
    throw IntegrityError(where + ": expected a file, found a symbolic link to " + found.string() +
                         ", outside of a hub cache that the bundle is in; copy the bundle with the files that its links name (cp -rL)");
  if (!fs::is_regular_file(found, error))
    throw IntegrityError(where + ": expected a file, found a directory or device; copy the bundle again");
  const auto size = static_cast<std::size_t>(fs::file_size(found, error));
  if (error || size > at_most)
    throw IntegrityError(where + ": expected " + std::to_string(at_most) + " bytes, found " + std::to_string(size) +
                         "; copy the bundle again");
  Bytes content(size);
  std::ifstream file(found, std::ios::binary);
  file.read(reinterpret_cast<char*>(content.data()), static_cast<std::streamsize>(content.size()));
  if (!file) throw IntegrityError(where + ": could not be read; check its permissions");
  return content;
}

struct Opened {
  std::unique_ptr<ElasticSession> session;
  std::string precision;
  LatencyTable table;
  double total = 0;
};

// Open the graphs of some precisions one after another, and keep the one whose subnets take the least time here.
// A precision whose self-test fails is left out if another one passes.
Opened fastest(const Bundle& bundle, const TestedDan& dan, const std::vector<std::string>& precisions, const LoadOptions& options) {
  Opened best;
  std::optional<SelfTestError> failure;
  for (const std::string& precision : precisions) {
    try {
      Opened one{bundle.session(precision, options.threads), precision, {}, 0};
      one.table = table_of(bundle, *one.session, dan, precision, options);
      for (const auto& [name, times] : one.table.median_ms)
        for (const double time : times) one.total += time;
      if (best.session == nullptr || one.total < best.total) best = std::move(one);
    } catch (const SelfTestError& error) {
      failure = error;
    }
  }
  if (best.session != nullptr) return best;
  if (failure) throw *failure;
  throw SelfTestError(bundle.place() + ": no graph for CPUs in this bundle; export it with fp32 or int8");
}

Accuracies accuracies_of(const std::vector<PoolEntry>& pool) {
  Accuracies made;
  for (const PoolEntry& one : pool) made.emplace_back(one.name, one.dev_accuracy.value_or(one.accuracy));
  return made;
}

}  // namespace

Error::Error(std::string name, const std::string& message) : std::runtime_error(safe(message)), name_(std::move(name)) {}

Files directory(const std::string& path) {
  std::error_code error;
  const auto exists = [&](const fs::path& one) { return fs::exists(one, error); };
  if (exists(path + "/compressed.json"))
    throw SchemaError(path + ": expected a plain bundle, found a compressed one; unpack it with `gearshift unpack`");
  if (!exists(path + "/manifest.json"))
    throw BundleError(path + ": expected a bundle directory, found " + (exists(path) ? "no manifest.json in it" : "no such directory") +
                      "; make one with `gearshift export`");
  return {path, [path](const std::string& name, std::size_t at_most) { return content_of(path, name, at_most); }};
}

struct Engine::State {
  Bundle bundle;
  TestedDan dan;
  Opened opened;
  Controller controller;
  std::optional<std::string> pinned;
  mutable std::mutex turn;
  std::atomic<int> waiting{0};
  bool closed = false;

  State(Bundle&& read, TestedDan&& tested, Opened&& found, const LoadOptions& options, double cpus)
      : bundle(std::move(read)),
        dan(std::move(tested)),
        opened(std::move(found)),
        controller(accuracies_of(bundle.switchable(opened.precision)), opened.table, options.objective, bundle.manifest().rows, cpus) {}

  Answer answer(const Encoded& encoded, double arrived, std::optional<double> deadline_ms, bool waited) {
    const double began = now_ms();
    const auto tokens = static_cast<std::int64_t>(encoded.encoding.ids.size());
    const std::optional<double> slack = deadline_ms ? std::optional(*deadline_ms - (began - arrived) - finish_ms) : std::nullopt;
    const Decision decision = controller.decide(
        {static_cast<int>(tokens), slack, began / 1e3, 0, pinned, waited ? deadline_ms : std::nullopt});
    if (decision.reason == "rejected") refuse(*slack, decision.predicted_ms);
    const PoolEntry entry = bundle.entry(decision.subnet, opened.precision);
    const std::vector<float> output = entry.executor == "dan"
                                          ? dan.dan->run(encoded.parts)
                                          : opened.session->run(Bundle::columns(encoded.encoding), 1, tokens, entry.choice);
    const double ended = now_ms();
    Answer made = read_answer(bundle.manifest(), output);
    made.latency_ms = now_ms() - arrived;
    if (deadline_ms) made.deadline_met = made.latency_ms <= *deadline_ms;
    controller.record(decision, ended - began, made.deadline_met, now_ms() / 1e3);
    made.subnet = decision.subnet;
    made.reason = decision.reason;
    made.predicted_ms = decision.predicted_ms;
    made.deadline_ms = deadline_ms;
    made.tokens = encoded.encoding.ids.size();
    made.truncated = encoded.truncated;
    return made;
  }

  [[noreturn]] static void refuse(double slack_ms, double predicted_ms) {
    char told[160];
    std::snprintf(told, sizeof told, "refused: %.1f ms are left of its deadline, and the fastest subnet may take %.1f ms now; ",
                  slack_ms, predicted_ms);
    throw DeadlineTooShortError(std::string(told) + "give it more time, or load with on_miss='best_effort'");
  }
};

Engine::Engine(std::unique_ptr<State> state) : state_(std::move(state)) {}
Engine::Engine(Engine&&) noexcept = default;
Engine& Engine::operator=(Engine&&) noexcept = default;
Engine::~Engine() = default;

Engine Engine::load(const std::string& path, const LoadOptions& options) { return load(directory(path), options); }

Engine Engine::load(const Files& files, const LoadOptions& options) {
  constexpr int most_threads = 1024;
  if (options.threads < 1 || options.threads > most_threads)
    throw InputError("threads: expected a whole number from 1 to 1024, got " + std::to_string(options.threads));
  checked_objective(options.objective);
  if (!files.read) throw InputError("files: expected a function `read` that gives the bytes of a file, got none");
  Bundle bundle(files);
  Runtime::check_version(bundle.manifest().minimum_onnxruntime);
  if (!options.precision.empty()) bundle.pool(options.precision);
  const std::vector<std::string> precisions =
      options.precision.empty() ? bundle.precisions() : std::vector<std::string>{options.precision};
  TestedDan dan;
  dan.dan = bundle.dan(dan.texts);
  Opened opened = fastest(bundle, dan, precisions, options);
  const double cpus = std::max(1.0, static_cast<double>(std::thread::hardware_concurrency())) / options.threads;
  return Engine(std::make_unique<State>(std::move(bundle), std::move(dan), std::move(opened), options, cpus));
}

Answer Engine::run(const Text& text, std::optional<double> deadline_ms) {
  const double arrived = now_ms();
  checked_deadline(deadline_ms);
  const Encoded encoded = state_->bundle.encoder().encode(text);
  const bool waits = state_->waiting.fetch_add(1) > 0;
  struct Leaves {
    std::atomic<int>& waiting;
    ~Leaves() { waiting.fetch_sub(1); }
  } leaves{state_->waiting};
  const std::lock_guard<std::mutex> turn(state_->turn);
  if (state_->closed) throw EngineClosedError("the engine is closed; load it again");
  return state_->answer(encoded, arrived, deadline_ms, waits);
}

void Engine::pin(const std::optional<std::string>& subnet) {
  if (subnet) state_->bundle.entry(*subnet, state_->opened.precision);
  const std::lock_guard<std::mutex> turn(state_->turn);
  state_->pinned = subnet;
}

void Engine::close() {
  const std::lock_guard<std::mutex> turn(state_->turn);
  state_->closed = true;
  state_->opened.session.reset();
}

const std::string& Engine::precision() const { return state_->opened.precision; }
const std::vector<std::string>& Engine::ladder() const { return state_->controller.ladder(); }
const LatencyTable& Engine::table() const { return state_->opened.table; }

double Engine::slow_down() const {
  const std::lock_guard<std::mutex> turn(state_->turn);
  return state_->controller.slow_down();
}

}  // namespace gearshift
