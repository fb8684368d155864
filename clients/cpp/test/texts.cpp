// Text vectors: tokens, outputs of every subnet and answers are those of the Python engine, for every task of this client.

#include <cmath>
#include <limits>
#include <memory>
#include <numeric>

#include "answers.h"
#include "bundle.h"
#include "testing.h"

using namespace gearshift::detail;

namespace {

constexpr double fp32_tolerance = 1e-3, int8_error = 0.5, int8_agreement = 0.9;

// Whether a text of the vectors can be given in this language: texts that are no strings cannot.
bool is_text(const Json& value) {
  if (value.is(Json::Kind::text)) return true;
  if (!value.is(Json::Kind::list) || value.list.size() != 2) return false;
  return value.list[0].is(Json::Kind::text) && value.list[1].is(Json::Kind::text);
}

void check_tokens(const Bundle& bundle, const Json& texts) {
  testing::require(texts.at("digest").text == bundle.manifest().digest, "vectors of another bundle");
  for (const Json& vector : texts.at("texts").list) {
    const Encoded found = bundle.encoder().encode(Bundle::text_of(vector.at("text").list));
    const std::string which = vector.at("text").list[0].text.substr(0, 60);
    testing::require(found.encoding.ids == Bundle::integers(vector.at("ids")), "other tokens: " + which);
    const Json* types = vector.given("types");
    testing::require(found.encoding.types == (types ? Bundle::integers(*types) : Column(found.encoding.ids.size(), 0)),
                     "other types: " + which);
    testing::require(found.truncated == vector.at("truncated").boolean, "cut otherwise: " + which);
  }
}

// Whether an answer is that of a vector, with numbers within a tolerance.
bool is_same(const Json& expected, const gearshift::Answer& found, double tolerance) {
  const auto near = [&](double one, double other) { return std::abs(one - other) <= tolerance; };
  for (const auto& [name, value] : expected.fields) {
    if (name == "label" && value.text != found.label) return false;
    if (name == "score" && !near(value.number, found.score)) return false;
    if (name == "value" && !near(value.number, found.value)) return false;
    if (name == "labels") {
      std::vector<std::string> labels;
      for (const Json& one : value.list) labels.push_back(one.text);
      if (labels != found.labels) return false;
    }
    if (name == "scores") {
      if (value.fields.size() != found.scores.size()) return false;
      for (const auto& [label, score] : value.fields)
        if (!found.scores.count(label) || !near(score.number, found.scores.at(label))) return false;
    }
    if (name == "vector") {
      if (value.list.size() != found.vector.size()) return false;
      for (std::size_t place = 0; place < value.list.size(); ++place)
        if (!near(value.list[place].number, found.vector[place])) return false;
    }
    const bool known = name == "label" || name == "score" || name == "value" || name == "labels" || name == "scores" || name == "vector";
    if (!known) return false;
  }
  return !expected.fields.empty();
}

// Spread of the outputs of a subnet: of one text, or of all texts where an output is one number.
double spread(const Json& texts, const std::vector<Json>& output, const std::string& precision, const std::string& subnet) {
  std::vector<double> values;
  for (const Json& one : output) values.push_back(one.number);
  if (output.size() == 1) {
    values.clear();
    for (const Json& vector : texts.at("texts").list)
      values.push_back(vector.at("precisions").at(precision).at(subnet).at("output").list.at(0).number);
  }
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
  double squares = 0;
  for (const double one : values) squares += (one - mean) * (one - mean) / static_cast<double>(values.size());
  return std::max(std::sqrt(squares), fp32_tolerance);
}

void check_numbers(const Bundle& bundle, const Json& texts, const std::string& precision) {
  const auto session = bundle.session(precision, 1);
  std::vector<std::u32string> words;
  const auto dan = bundle.dan(words);
  std::size_t same = 0, total = 0;
  for (const Json& vector : texts.at("texts").list) {
    const Encoded encoded = bundle.encoder().encode(Bundle::text_of(vector.at("text").list));
    const Json& wanted = vector.at("precisions").at(precision);
    const std::vector<PoolEntry> pool = bundle.switchable(precision);
    testing::require(wanted.fields.size() == pool.size(), "other subnets");
    for (const PoolEntry& entry : pool) {
      const std::string where = entry.name + " " + vector.at("text").list[0].text.substr(0, 40);
      const std::vector<Json>& output = wanted.at(entry.name).at("output").list;
      const auto tokens = static_cast<std::int64_t>(encoded.encoding.ids.size());
      const std::vector<float> found = entry.executor == "dan" ? dan->run(encoded.parts)
                                                              : session->run(Bundle::columns(encoded.encoding), 1, tokens, entry.choice);
      testing::require(found.size() == output.size(), where + ": another size");
      double largest = 0, sum = 0;
      for (std::size_t place = 0; place < output.size(); ++place) {
        const double error = std::abs(found[place] - output[place].number);
        largest = std::max(largest, error);
        sum += error;
      }
      const auto count = static_cast<double>(output.size());
      const gearshift::Answer answer = read_answer(bundle.manifest(), found);
      const Json& expected = wanted.at(entry.name).at("answer");
      if (precision == "fp32") {
        testing::require(largest <= fp32_tolerance, where + ": other numbers");
        testing::require(is_same(expected, answer, fp32_tolerance), where + ": another answer");
      } else {
        testing::require(sum / count / spread(texts, output, precision, entry.name) <= int8_error, where + ": other numbers");
        same += is_same(expected, answer, std::numeric_limits<double>::infinity());
        ++total;
      }
    }
  }
  testing::require(static_cast<double>(same) >= int8_agreement * static_cast<double>(total), "other answers at " + precision);
}

void check_refusals(const Bundle& bundle, const Json& texts) {
  int tried = 0;
  for (const Json& refusal : texts.at("refused").list) {
    const std::string& kind = refusal.at("kind").text;
    const Json& value = refusal.at("value");
    if (kind == "text" ? !is_text(value) : kind == "deadline_ms" && !value.is(Json::Kind::number)) continue;
    ++tried;
    try {
      if (kind == "text") bundle.encoder().encode(value.is(Json::Kind::text) ? gearshift::Text(value.text) : Bundle::text_of(value.list));
      else if (kind == "deadline_ms") checked_deadline(value.number);
      else bundle.entry(value.text, bundle.precisions()[0]);
    } catch (const gearshift::Error& error) {
      testing::require(error.name() == refusal.at("error").text && error.what() == refusal.at("message").text,
                       std::string("other words: ") + error.what());
      continue;
    }
    throw testing::Failure("not refused: " + kind);
  }
  testing::require(tried == 7, std::to_string(tried) + " refusals can be given in this language, expected 7");
}

}  // namespace

int main(int, char** arguments) {
  const std::string made = arguments[1];
  testing::Suite suite;
  for (const std::string name : {"tiny", "embedded", "dan", "dan-pairs", "twelve", "multi-label", "regression", "embedding"}) {
    const Json texts = testing::json_of(made + "/" + name + ".vectors/texts.json");
    std::unique_ptr<Bundle> bundle;
    suite.test(name + ": opens", [&] { bundle = std::make_unique<Bundle>(gearshift::directory(made + "/" + name + ".gearshift")); });
    if (!bundle) continue;
    suite.test(name + ": every text has the tokens of Python", [&] { check_tokens(*bundle, texts); });
    for (const std::string& precision : bundle->precisions())
      suite.test(name + ": every subnet gives the numbers and answers of Python at " + precision,
                 [&] { check_numbers(*bundle, texts, precision); });
    suite.test(name + ": what Python refuses is refused in the same words", [&] { check_refusals(*bundle, texts); });
  }
  for (const std::string name : {"token", "words", "question", "unanswerable"})
    suite.test(name + ": a task of another client is refused by name", [&] {
      testing::refused("SchemaError", "which this client does not answer; use another client for this bundle$",
                       [&] { Bundle(gearshift::directory(made + "/" + name + ".gearshift")); });
    });
  return suite.ended();
}
