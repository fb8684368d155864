// A verified bundle: manifest, tokenizer and self-test, and its graphs, each read when it is opened.

#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "dan.h"
#include "manifest.h"
#include "npz.h"
#include "session.h"
#include "text.h"

namespace gearshift::detail {

class Bundle {
 public:
  // Opens a bundle: every file by size and SHA-256 before it is used, and the tokenizer by the bundle's own texts.
  explicit Bundle(Files files) : files_(std::move(files)), manifest_(ManifestReader::read(files_)) {
    if (!manifest_.task->is_run)
      throw SchemaError(files_.place + ": expected classification, multi-label-classification, regression or embedding, found " +
                        manifest_.task->name + ", which this client does not answer; use another client for this bundle");
    encoder_ = std::make_unique<TextEncoder>(manifest_, json("tokenizer.json"), where("tokenizer.json"));
    if (manifest_.files.count("selftest.json")) check_tokens(json("selftest.json"));
  }

  const Manifest& manifest() const { return manifest_; }
  const TextEncoder& encoder() const { return *encoder_; }
  const std::string& place() const { return files_.place; }

  // Precisions of the bundle's graphs that CPUs have kernels for.
  std::vector<std::string> precisions() const {
    std::vector<std::string> made;
    for (const char* one : {"fp32", "int8"})
      if (!entries(one).empty()) made.emplace_back(one);
    return made;
  }

  // All that an engine may switch between: the subnets of one precision, and the DAN if there is one.
  std::vector<PoolEntry> switchable(const std::string& precision) const {
    std::vector<PoolEntry> found = pool(precision);
    for (const PoolEntry& one : manifest_.pool)
      if (one.executor == "dan") found.push_back(one);
    return found;
  }

  // The DAN after its self-test, and words that it knows some n-grams of, to be timed with; null if there is none.
  // Raises IntegrityError, SchemaError or SelfTestError.
  std::unique_ptr<Dan> dan(std::vector<std::u32string>& words) const {
    const auto found = std::find_if(manifest_.pool.begin(), manifest_.pool.end(), [](const PoolEntry& one) { return one.executor == "dan"; });
    if (found == manifest_.pool.end()) return nullptr;
    auto made = std::make_unique<Dan>(read(found->file), where(found->file));
    const Bytes content = read("selftest.npz");
    NumberArray texts, expected;
    try {
      const Npz arrays(content);
      texts = arrays.array("texts." + found->precision + "." + found->name);
      expected = arrays.array("logits." + found->precision + "." + found->name);
      if (texts.shape.size() != 2 || texts.texts.empty()) throw std::runtime_error("texts of another shape");
    } catch (const std::exception& error) {
      throw SchemaError(where("selftest.npz") + ": not readable (" + error.what() + "); export the bundle again");
    }
    std::vector<float> numbers;
    const auto width = static_cast<std::size_t>(texts.shape[1]);
    for (std::size_t row = 0; row < texts.texts.size(); row += width) {
      const auto first = texts.texts.begin() + static_cast<std::ptrdiff_t>(row);
      const std::vector<float> logits = made->run({first, first + static_cast<std::ptrdiff_t>(width)});
      numbers.insert(numbers.end(), logits.begin(), logits.end());
    }
    const std::string which = place() + ": self-test of " + found->name;
    if (numbers.size() != expected.floats.size())
      throw SelfTestError(which + ": expected " + std::to_string(expected.floats.size()) + " numbers, found " +
                          std::to_string(numbers.size()) + "; export the bundle again");
    check_numbers(expected.floats, numbers, "fp32", which);
    for (const std::u32string& text : texts.texts) words.push_back(text);
    return made;
  }

  // Subnets of the graph of one precision.
  std::vector<PoolEntry> pool(const std::string& precision) const {
    std::vector<PoolEntry> found = entries(precision);
    if (found.empty())
      throw SchemaError(place() + ": no " + precision + " graph in this bundle; it has " + joined(precisions()));
    return found;
  }

  // A subnet by name; raises UnknownSubnetError, which lists the known names.
  PoolEntry entry(const std::string& name, const std::string& precision) const {
    std::vector<std::string> names;
    for (const PoolEntry& one : switchable(precision)) {
      if (one.name == name) return one;
      names.push_back(one.name);
    }
    throw UnknownSubnetError("unknown subnet " + repr(name) + "; this bundle has " + joined(names));
  }

  // The session of a precision after its self-test; raises IntegrityError, BundleError or SelfTestError.
  std::unique_ptr<ElasticSession> session(const std::string& precision, int threads) const {
    const std::vector<PoolEntry> subnets = pool(precision);
    const std::string& file = subnets.front().file;
    for (const PoolEntry& one : subnets)
      if (one.file != file) throw SchemaError(place() + ": expected one " + precision + " graph, found " + file + ", " + one.file + "; export again");
    const std::string ending = ".onnx";
    const bool is_onnx = file.size() > ending.size() && file.compare(file.size() - ending.size(), ending.size(), ending) == 0;
    const std::string name = is_onnx ? file.substr(0, file.size() - ending.size()) + ".weights" : "";
    Bytes weights = manifest_.files.count(name) ? read(name) : Bytes();
    auto made = std::make_unique<ElasticSession>(manifest_, read(file), name, weights, threads, where(file));
    self_test(*made, precision);
    return made;
  }

  // Text of `latencies.json`, where an app ships the folder of `gearshift embed`; empty if there is none.
  std::string latencies() const {
    constexpr std::size_t most = std::size_t{4} << 20;
    const bool embedded = std::any_of(manifest_.pool.begin(), manifest_.pool.end(), [](const PoolEntry& one) {
      return one.file.size() > 4 && one.file.compare(one.file.size() - 4, 4, ".ort") == 0;
    });
    if (!embedded) return "";
    try {
      const Bytes content = files_.read("latencies.json", most);
      return {content.begin(), content.end()};
    } catch (const IntegrityError&) {
      return "";
    }
  }

  static std::map<std::string, Column> columns(const Encoding& encoding) {
    return {{"input_ids", encoding.ids}, {"attention_mask", Column(encoding.ids.size(), 1)}, {"token_type_ids", encoding.types}};
  }

 private:
  std::string where(const std::string& name) const { return place() + "/" + name; }

  std::vector<PoolEntry> entries(const std::string& precision) const {
    std::vector<PoolEntry> found;
    for (const PoolEntry& one : manifest_.pool)
      if (one.precision == precision && one.executor == "elastic") found.push_back(one);
    return found;
  }

  // Contents of a file of the manifest; raises IntegrityError unless size and SHA-256 are those.
  Bytes read(const std::string& name) const {
    const FileFacts& expected = manifest_.files.at(name);
    Bytes content = files_.read(name, expected.bytes);
    if (content.size() != expected.bytes)
      throw IntegrityError(where(name) + ": expected " + std::to_string(expected.bytes) + " bytes, found " +
                           std::to_string(content.size()) + "; copy the bundle again");
    const std::string found = Sha256::hex(content);
    if (found != expected.sha256)
      throw IntegrityError(where(name) + ": expected sha256 " + expected.sha256 + ", found " + found + "; copy the bundle again");
    return content;
  }

  Json json(const std::string& name) const {
    const Bytes content = read(name);
    try {
      return JsonReader::read(std::string(content.begin(), content.end()));
    } catch (const std::runtime_error& error) {
      throw IntegrityError(where(name) + ": expected JSON (" + error.what() + "); copy the bundle again");
    }
  }

  // Raise SelfTestError, which shows the text, unless the encoder makes the tokens of the bundle's own texts.
  void check_tokens(const Json& raw) const {
    const Json* version = raw.find("schema_version");
    const Json* tokens = raw.find("tokens");
    if (version == nullptr || version->number != 1 || tokens == nullptr || !tokens->is(Json::Kind::list))
      throw SchemaError(where("selftest.json") + ": expected schema version 1, found " +
                        (version == nullptr ? "None" : repr(*version)) + "; export the bundle again");
    for (const Json& vector : tokens->list) {
      bool same = false;
      const std::vector<Json>& text = vector.at("text").as_list();
      try {
        const Encoding made = encoder_->encode(text_of(text)).encoding;
        same = made.ids == integers(vector.at("ids"));
        const Json* types = vector.given("types");
        same = same && made.types == (types == nullptr ? Column(made.ids.size(), 0) : integers(*types));
      } catch (const InputError&) {
      }
      if (same) continue;
      const std::string whole = text.size() > 1 ? repr(vector.at("text")) : repr(text.at(0));
      throw SelfTestError(place() + ": self-test of the tokenizer: expected other tokens for " +
                          utf8(codes_of(whole).value_or(U"").substr(0, 60)) +
                          "; use the Python engine for this bundle, or export it again");
    }
  }

 public:
  static Text text_of(const std::vector<Json>& parts) {
    return parts.size() > 1 ? Text(parts[0].as_text(), parts[1].as_text()) : Text(parts.at(0).as_text());
  }
  static Column integers(const Json& list) {
    Column made;
    for (const Json& one : list.as_list()) made.push_back(static_cast<std::int64_t>(one.as_number()));
    return made;
  }

 private:
  // Raise SelfTestError, which states the figures, unless every subnet gives the numbers of the self-test.
  void self_test(const ElasticSession& session, const std::string& precision) const {
    constexpr double agreement = 0.9;
    const std::string file = where("selftest.npz");
    const Bytes content = read("selftest.npz");
    std::map<std::string, Column> inputs;
    std::vector<std::int64_t> shape;
    std::map<std::string, std::vector<float>> wanted;
    try {
      const Npz arrays(content);
      for (const std::string& name : manifest_.inputs) {
        NumberArray array = arrays.array(name);
        if (array.shape.size() != 2 || array.integers.empty() || (!inputs.empty() && array.shape != shape))
          throw std::runtime_error("inputs of several shapes, or no tokens");
        shape = array.shape;
        inputs[name] = std::move(array.integers);
      }
      for (const PoolEntry& entry : pool(precision))
        wanted[entry.name] = arrays.array("logits." + precision + "." + entry.name).floats;
    } catch (const Error&) {
      throw;
    } catch (const std::exception& error) {
      throw SchemaError(file + ": not readable (" + error.what() + "); export the bundle again");
    }
    std::size_t same = 0, total = 0;
    for (const PoolEntry& entry : pool(precision)) {
      const std::vector<float>& expected = wanted[entry.name];
      const std::vector<float> found = session.run(inputs, shape[0], shape[1], entry.choice);
      const std::string which = place() + ": " + precision + " self-test, subnet " + entry.name;
      if (found.size() != expected.size() || found.empty())
        throw SelfTestError(which + ": expected " + std::to_string(expected.size()) + " numbers, found " +
                            std::to_string(found.size()) + "; export the bundle again");
      check_numbers(expected, found, precision, which);
      if (!manifest_.task->labelled) continue;
      const std::size_t width = expected.size() / static_cast<std::size_t>(shape[0]);
      for (std::size_t row = 0; row + width <= expected.size(); row += width, ++total) {
        const auto best = [&](const std::vector<float>& values) {
          const auto first = values.begin() + static_cast<std::ptrdiff_t>(row);
          return std::max_element(first, first + static_cast<std::ptrdiff_t>(width)) - first;
        };
        same += best(expected) == best(found);
      }
    }
    if (static_cast<double>(same) < agreement * static_cast<double>(total))
      throw SelfTestError(place() + ": " + precision + " self-test: expected the same label on 90% of " + std::to_string(total) +
                          " rows, found " + std::to_string(same) + "; use another precision on this CPU");
  }

  static void check_numbers(const std::vector<float>& expected, const std::vector<float>& found, const std::string& precision,
                            const std::string& which) {
    constexpr double fp32_tolerance = 1e-3, int8_error = 0.1;
    const auto refuse = [&](const char* what, double limit, double value) {
      if (value <= limit) return;
      throw SelfTestError(which + ": " + what + ": expected at most " + repr(limit) + ", found " + repr(value) +
                          "; use another precision on this CPU");
    };
    const auto count = static_cast<double>(expected.size());
    double largest = 0, sum = 0, mean = 0, squares = 0;
    for (std::size_t place = 0; place < expected.size(); ++place) {
      const double error = std::abs(double{found[place]} - expected[place]);
      if (!(error <= largest)) largest = error;  // NaN is the largest of all
      sum += error;
      mean += expected[place] / count;
    }
    if (precision == "fp32") return refuse("largest difference of a logit", fp32_tolerance, largest);
    for (const float one : expected) squares += (one - mean) * (one - mean) / count;
    refuse("mean difference / spread", int8_error, sum / count / std::max(std::sqrt(squares), fp32_tolerance));
  }

  Files files_;
  Manifest manifest_;
  std::unique_ptr<TextEncoder> encoder_;
};

}  // namespace gearshift::detail
