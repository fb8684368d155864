// The manifest: its digest, its form, and what must hold between its fields (docs/bundle.md).

#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "gearshift/gearshift.h"
#include "hash.h"
#include "json.h"
#include "words.h"

namespace gearshift::detail {

struct Task {
  const char* name;
  const char* output;
  bool labelled, is_run;  // whether this client answers it
};

inline const Task tasks[] = {
    {"classification", "logits", true, true},       {"multi-label-classification", "logits", true, true},
    {"regression", "logits", false, true},          {"token-classification", "logits", true, false},
    {"question-answering", "logits", false, false}, {"embedding", "embedding", false, true},
};

struct PoolEntry {
  std::string name, executor, file, precision;
  std::vector<std::int64_t> choice;
  double accuracy = 0;
  std::optional<double> dev_accuracy;
};

struct FileFacts {
  std::size_t bytes = 0;
  std::string sha256;
};

struct Manifest {
  std::string hash;  // SHA-256 of its file, which identifies the contents
  std::string digest, minimum_onnxruntime, prompt;
  const Task* task = nullptr;
  std::vector<std::string> labels, inputs;
  int max_length = 0, vocabulary = 0;
  std::vector<PoolEntry> pool;
  std::map<std::string, std::string> session_options;
  std::map<std::string, FileFacts> files;
  int rows = 0;  // behind the accuracies; 0 to take them as they are
};

class ManifestReader {
 public:
  // Raises IntegrityError or SchemaError, as the Python engine does.
  static Manifest read(const Files& files) {
    const Bytes content = files.read("manifest.json", most_bytes);
    ManifestReader reader(files.place, std::string(content.begin(), content.end()));
    reader.check_digest();
    try {
      reader.raw_ = JsonReader::read(reader.content_);
    } catch (const std::runtime_error& error) {
      throw IntegrityError(reader.where_ + ": expected JSON (" + error.what() + "); copy the bundle again");
    }
    reader.check_version();
    Manifest made;
    try {
      made = reader.parsed();
    } catch (const Error&) {
      throw;
    } catch (const std::runtime_error& error) {
      reader.fault(error.what());
    }
    made.hash = Sha256::hex(content);
    reader.check_references(made);
    return made;
  }

 private:
  static constexpr std::size_t most_bytes = std::size_t{4} << 20;
  static constexpr int version = 2;

  ManifestReader(const std::string& place, std::string content)
      : place_(place), where_(place + "/manifest.json"), content_(std::move(content)) {}

  [[noreturn]] void fault(const std::string& what) const {
    throw SchemaError(where_ + ": not of schema version 2 (" + what + "); export the bundle again");
  }

  void check_digest() {
    const std::string head = "{\n \"schema_version\": ", middle = ",\n \"digest\": \"", tail = "\",\n";
    std::size_t at = head.size();
    bool is_whole = content_.compare(0, head.size(), head) == 0;
    const std::size_t digits = at;
    while (at < content_.size() && content_[at] >= '0' && content_[at] <= '9') ++at;
    is_whole = is_whole && at > digits && at - digits < 10 && content_.compare(at, middle.size(), middle) == 0;
    const std::size_t start = at + middle.size();
    is_whole = is_whole && content_.size() > start + 64 + tail.size() && content_.compare(start + 64, tail.size(), tail) == 0;
    const std::string stated = is_whole ? content_.substr(start, 64) : "";
    if (!is_whole || stated.find_first_not_of("0123456789abcdef") != std::string::npos)
      throw IntegrityError(where_ + ": expected a manifest with its digest, found none; copy the bundle again");
    Bytes zeroed(content_.begin(), content_.end());
    std::fill_n(zeroed.begin() + static_cast<std::ptrdiff_t>(start), 64, std::uint8_t{'0'});
    const std::string found = Sha256::hex(zeroed);
    if (found != stated)
      throw IntegrityError(where_ + ": expected digest " + stated + ", found " + found + "; copy the bundle again");
  }

  void check_version() const {
    const Json* found = raw_.find("schema_version");
    if (found != nullptr && found->is(Json::Kind::number) && found->number == version) return;
    const bool newer = found != nullptr && found->is(Json::Kind::number) && found->number > version;
    throw SchemaError(where_ + ": expected schema version 2, found " + (found == nullptr ? "None" : repr(*found)) + "; " +
                      (newer ? "install a newer gearshift" : "export the bundle again"));
  }

  Manifest parsed() const {
    check_fields();
    Manifest made;
    made.digest = raw_.at("digest").as_text();
    made.task = task();
    known("a metric", raw_.at("metric").as_text(), {"accuracy", "micro_f1", "spearman", "entity_f1", "answer_f1", "cosine"});
    made.minimum_onnxruntime = raw_.at("minimum_onnxruntime").as_text();
    for (const Json& one : raw_.at("labels").as_list()) made.labels.push_back(one.as_text());
    if (std::set<std::string>(made.labels.begin(), made.labels.end()).size() < made.labels.size())
      fault("labels: expected different texts");
    for (const Json& one : raw_.at("inputs").as_list()) {
      made.inputs.push_back(one.as_text());
      if (made.inputs.back() != "input_ids" && made.inputs.back() != "attention_mask" && made.inputs.back() != "token_type_ids")
        fault("inputs: not usable: " + repr(raw_.at("inputs")));
    }
    if (made.inputs.empty()) fault("inputs: not usable: []");
    made.max_length = count(raw_, "max_length");
    count(raw_, "pad_id");
    made.vocabulary = count(raw_.at("space").at("shape"), "vocabulary");
    read_options(made);
    read_pool(made);
    for (const auto& [name, entry] : raw_.at("files").as_object())
      made.files[name] = {static_cast<std::size_t>(count(entry, "bytes")), entry.at("sha256").as_text()};
    if (const Json* vectors = raw_.given("vectors")) made.prompt = vectors->at("prompt").as_text();
    if (raw_.given("chosen_by") && raw_.given("dev_rows")) made.rows = count(raw_, "dev_rows");
    if (made.labels.empty() == made.task->labelled)
      throw SchemaError(place_ + ": expected " + (made.task->labelled ? "labels" : "no labels") + " of " + made.task->name +
                        "; export the bundle again");
    return made;
  }

  void check_fields() const {
    static const std::vector<std::string> required = {
        "name", "task", "metric", "labels", "max_length", "pad_id", "inputs", "space", "pool", "macs_tokens",
        "session_options", "minimum_onnxruntime", "accuracy_rows", "licence", "made_by", "files"};
    static const std::vector<std::string> others = {"schema_version", "digest",    "losses",   "wide_layers",
                                                    "tagging",        "vectors",   "chosen_by", "dev_rows", "heads"};
    for (const std::string& name : required)
      if (raw_.find(name) == nullptr) fault("no field " + repr(name));
    for (const auto& [name, value] : raw_.as_object()) {
      const bool is_known = std::count(required.begin(), required.end(), name) || std::count(others.begin(), others.end(), name);
      if (!is_known) fault("an unknown field " + repr(name));
    }
  }

  int count(const Json& owner, const std::string& name) const {
    const Json& found = owner.at(name);
    if (!found.is_count() || found.number > 2147483647) fault(name + ": not usable: " + repr(found));
    return static_cast<int>(found.number);
  }

  const Task* task() const {
    const std::string& name = raw_.at("task").as_text();
    std::vector<std::string> names;
    for (const Task& one : tasks) names.emplace_back(one.name);
    known("a task", name, names);
    const Task* found = std::find_if(std::begin(tasks), std::end(tasks), [&](const Task& one) { return one.name == name; });
    return found;
  }

  void known(const std::string& what, const std::string& value, const std::vector<std::string>& all) const {
    if (std::count(all.begin(), all.end(), value)) return;
    throw SchemaError(place_ + ": expected " + what + " out of " + joined(all) + ", found " + repr(value) +
                      "; install a newer gearshift");
  }

  void read_options(Manifest& made) const {
    static const std::vector<std::pair<std::string, std::vector<std::string>>> options = {
        {"graph_optimization_level", {"disable", "basic", "extended", "all"}}, {"session.intra_op.allow_spinning", {"0", "1"}}};
    for (const auto& [name, value] : raw_.at("session_options").as_object()) {
      known("session options", name, {options[0].first, options[1].first});
      known(name, value.as_text(), name == options[0].first ? options[0].second : options[1].second);
      made.session_options[name] = value.as_text();
    }
  }

  void read_pool(Manifest& made) const {
    const auto share = [this](const PoolEntry& entry, const Json& value) {
      if (!value.is(Json::Kind::number) || !(value.number >= 0 && value.number <= 1))
        fault("accuracy of " + entry.name + ": not usable: " + repr(value));
      return value.number;
    };
    for (const Json& one : raw_.at("pool").as_list()) {
      PoolEntry entry;
      entry.name = one.at("name").as_text();
      entry.file = one.at("file").as_text();
      entry.executor = one.at("executor").as_text();
      entry.precision = one.at("precision").as_text();
      for (const Json& place : one.at("choice").as_list()) {
        if (!place.is_count()) fault("pool: expected subnets with name, file, executor, precision and choice");
        entry.choice.push_back(static_cast<std::int64_t>(place.number));
      }
      entry.accuracy = share(entry, one.at("accuracy"));
      if (const Json* dev = one.given("dev_accuracy")) entry.dev_accuracy = share(entry, *dev);
      known("an executor of " + entry.name, entry.executor, {"elastic", "dan"});
      known("a precision of " + entry.name, entry.precision, {"fp32", "int8", "fp16"});
      if (entry.executor == "elastic") check_choice(entry, one.at("subnet"));
      made.pool.push_back(entry);
    }
  }

  // Raise SchemaError unless the options that a choice selects make the entry's subnet.
  void check_choice(const PoolEntry& entry, const Json& subnet) const {
    const Json& space = raw_.at("space");
    const std::vector<Json>& stages = space.at("stages").as_list();
    const Json* kind = space.given("kind");
    const bool mixed = kind != nullptr && kind->text == "mixed";
    Json made;
    made.kind = Json::Kind::list;
    bool fits = entry.choice.size() == stages.size();
    for (std::size_t stage = 0; fits && stage < stages.size(); ++stage) {
      const std::vector<Json>& options = stages[stage].at("options").as_list();
      fits = static_cast<std::size_t>(entry.choice[stage]) < options.size();
      if (!fits) break;
      const Json& option = options[static_cast<std::size_t>(entry.choice[stage])];
      if (mixed || !option.is(Json::Kind::list)) made.list.push_back(option);
      else made.list.insert(made.list.end(), option.list.begin(), option.list.end());
    }
    if (mixed) {
      Json whole;
      whole.kind = Json::Kind::object;
      whole.fields.emplace_back("blocks", made);
      made = whole;
    }
    if (fits && made == subnet) return;
    std::string shown;
    for (const std::int64_t one : entry.choice) shown += (shown.empty() ? "" : ", ") + std::to_string(one);
    throw SchemaError(place_ + ": choice [" + shown + "] of " + entry.name + " makes another subnet; export again");
  }

  void check_references(const Manifest& made) const {
    if (made.pool.empty()) throw SchemaError(place_ + ": the pool is empty; export the bundle again");
    for (const auto& [name, facts] : made.files) {
      const bool odd = std::any_of(name.begin(), name.end(), [](char one) {
        return one == '/' || one == '\\' || static_cast<unsigned char>(one) < 32;
      });
      if (odd || name.empty() || name == "." || name == ".." || !codes_of(name))
        throw IntegrityError(place_ + ": the manifest names " + repr(name) + "; expected a plain file name inside the bundle");
    }
    std::vector<std::string> needed = {"tokenizer.json", "selftest.npz"};
    std::set<std::string> seen;
    for (const PoolEntry& entry : made.pool) {
      needed.push_back(entry.file);
      if (!seen.insert(entry.precision + " " + entry.name).second)
        throw SchemaError(place_ + ": the pool lists " + entry.name + " at " + entry.precision + " twice; export the bundle again");
    }
    for (const std::string& name : needed)
      if (!made.files.count(name))
        throw SchemaError(place_ + ": the manifest does not list " + repr(name) + "; export the bundle again");
  }

  std::string place_, where_, content_;
  Json raw_;
};

}  // namespace gearshift::detail
