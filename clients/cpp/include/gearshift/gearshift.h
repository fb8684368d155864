// gearshift for C++: answers with a bundle, and for every request takes the most accurate subnet that keeps its deadline.
//
// The contract is docs/bundle.md. Compile src/gearshift.cpp with it, and link ONNX Runtime 1.23 or newer.

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace gearshift {

// Base of all errors that this client raises on purpose: what was expected, what came, what to do, on one line.
class Error : public std::runtime_error {
 public:
  Error(std::string name, const std::string& message);
  // Name of the kind, that of the class.
  const std::string& name() const { return name_; }

 private:
  std::string name_;
};

// An argument of the caller that cannot be used.
class InputError : public Error {
 public:
  explicit InputError(const std::string& message, const std::string& name = "InputError") : Error(name, message) {}
};
// A subnet that the bundle does not have.
class UnknownSubnetError : public InputError {
 public:
  explicit UnknownSubnetError(const std::string& message) : InputError(message, "UnknownSubnetError") {}
};
// A bundle that cannot be read.
class BundleError : public Error {
 public:
  explicit BundleError(const std::string& message, const std::string& name = "BundleError") : Error(name, message) {}
};
// A file of a bundle that is missing, truncated or altered.
class IntegrityError : public BundleError {
 public:
  explicit IntegrityError(const std::string& message) : BundleError(message, "IntegrityError") {}
};
// A bundle written in a form that this version does not read.
class SchemaError : public BundleError {
 public:
  explicit SchemaError(const std::string& message) : BundleError(message, "SchemaError") {}
};
// A bundle whose tokens or numbers differ here from those that it states.
class SelfTestError : public BundleError {
 public:
  explicit SelfTestError(const std::string& message) : BundleError(message, "SelfTestError") {}
};
// A latency table that cannot be used.
class ProfileError : public Error {
 public:
  explicit ProfileError(const std::string& message) : Error("ProfileError", message) {}
};
// A deadline that no subnet keeps, with an engine that refuses such requests.
class DeadlineTooShortError : public Error {
 public:
  explicit DeadlineTooShortError(const std::string& message) : Error("DeadlineTooShortError", message) {}
};
// A request to an engine after `close`.
class EngineClosedError : public Error {
 public:
  explicit EngineClosedError(const std::string& message) : Error("EngineClosedError", message) {}
};

// Files of a bundle, wherever they lie: `read` gives the bytes of one, and raises IntegrityError if it is missing or has
// more than `at_most` bytes. An Android app reads its assets here, in the folder of `gearshift embed`.
struct Files {
  std::string place;  // for messages
  std::function<std::vector<std::uint8_t>(const std::string& name, std::size_t at_most)> read;
};
// The files of a directory; raises BundleError if it is no bundle.
Files directory(const std::string& path);

// One text in UTF-8, or a pair of texts that are read together.
struct Text {
  std::string first;
  std::optional<std::string> second;
  Text(std::string text) : first(std::move(text)) {}  // NOLINT: a text is given as it is
  Text(const char* text) : first(text) {}             // NOLINT
  Text(std::string one, std::string other) : first(std::move(one)), second(std::move(other)) {}
};

// Median latency in ms of each subnet for one text, one value per length.
struct LatencyTable {
  std::vector<int> lengths;  // in tokens, ascending
  std::map<std::string, std::vector<double>> median_ms;
};

// What an engine is to keep.
struct Objective {
  // Share of the deadlines to keep at least; nullopt: as many as give the most right answers in time.
  std::optional<double> target;
  double late_value = 0;  // what a late answer is worth, from 0 (nothing) to 1 (as much as one in time)
  std::optional<double> min_accuracy;
  std::optional<double> max_cpu_share;   // without a deadline: share of the CPUs that requests may take on average
  std::string on_miss = "best_effort";   // where no subnet keeps a deadline: answer as fast as can be, or `reject`
};

struct LoadOptions {
  std::string precision;  // `fp32` or `int8`; empty for the faster one that passes its self-test here
  int threads = 1;        // of a call
  Objective objective;
  std::optional<LatencyTable> table;  // in place of a kept or timed one
  std::string tables;  // file that keeps latency tables, in the form of `latencies.json`; empty to time at every load
  std::string device;  // name under which a table is kept; empty for that of the machine
};

struct Answer {
  // Of classification: the label of the highest probability, and that; of tasks with labels: the probability of each.
  std::string label;
  double score = 0;
  std::vector<std::string> labels;  // of multi-label classification: those of at least 1/2, the most probable first
  std::map<std::string, double> scores;
  double value = 0;           // of regression
  std::vector<float> vector;  // of embedding

  std::string subnet;
  std::string reason;        // of the choice, in the words of the Python engine
  double latency_ms = 0;     // from the call of `run` to the answer
  double predicted_ms = 0;   // bound that the graph was predicted to stay under
  std::optional<double> deadline_ms;
  std::optional<bool> deadline_met;
  std::size_t tokens = 0;
  bool truncated = false;
};

// An opened bundle. Requests of several threads are answered one after another.
class Engine {
 public:
  // Raises a BundleError, or InputError for an option that cannot be used.
  static Engine load(const std::string& path, const LoadOptions& options = {});
  static Engine load(const Files& files, const LoadOptions& options = {});

  // Raises InputError, DeadlineTooShortError if such are refused, EngineClosedError after `close`.
  Answer run(const Text& text, std::optional<double> deadline_ms = std::nullopt);
  // Answer every request with this subnet; nullopt goes back to deciding.
  void pin(const std::optional<std::string>& subnet);
  // Wait for the request that runs, and free the weights.
  void close();

  const std::string& precision() const;
  const std::vector<std::string>& ladder() const;  // the most accurate first
  const LatencyTable& table() const;
  double slow_down() const;  // observed / expected latency now

  Engine(Engine&&) noexcept;
  Engine& operator=(Engine&&) noexcept;
  ~Engine();

 private:
  struct State;
  explicit Engine(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace gearshift
