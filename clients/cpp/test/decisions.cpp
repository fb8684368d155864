// Decision vectors: this client's controller decides as the engine of Python does, number by number.

#include <set>

#include "policy/controller.h"
#include "policy/normal.h"
#include "testing.h"

using namespace gearshift::detail;

namespace {

constexpr double tolerance = 1e-9;

std::optional<double> number_of(const Json& owner, const char* name) {
  const Json* found = owner.given(name);
  return found == nullptr ? std::nullopt : std::optional(found->as_number());
}

gearshift::LatencyTable table_of(const Json& raw) {
  gearshift::LatencyTable table;
  for (const Json& length : raw.at("lengths").list) table.lengths.push_back(static_cast<int>(length.number));
  for (const auto& [name, times] : raw.at("median_ms").fields)
    for (const Json& time : times.list) table.median_ms[name].push_back(time.number);
  return table;
}

void check(const Json& scenario, const Json& table_of_most, std::set<std::string>& reasons) {
  const Json* own = scenario.given("table");
  const gearshift::LatencyTable table = table_of(own == nullptr ? table_of_most : *own);
  const Json& wanted = scenario.at("objective");
  const gearshift::Objective objective{number_of(wanted, "target"), wanted.at("late_value").as_number(),
                                       number_of(wanted, "min_accuracy"), number_of(wanted, "max_cpu_share"),
                                       wanted.at("on_miss").as_text()};
  Accuracies accuracies;
  for (const auto& [name, value] : scenario.at("accuracies").as_object()) accuracies.emplace_back(name, value.as_number());
  Controller controller(accuracies, table, objective, static_cast<int>(scenario.at("rows").as_number()),
                        scenario.at("cpus").as_number());
  std::vector<std::string> ladder;
  for (const Json& name : scenario.at("ladder").as_list()) ladder.push_back(name.as_text());
  testing::require(controller.ladder() == ladder, "another ladder");
  std::size_t number = 0;
  for (const Json& step : scenario.at("steps").as_list()) {
    const std::string where = "step " + std::to_string(number++);
    const auto same = [&](double found, const char* field) {
      const double expected = step.at(field).as_number();
      testing::close(found, expected, tolerance * std::abs(expected), where + ", " + field);
    };
    const Json* pinned = step.given("pinned");
    const Decision decision = controller.decide({static_cast<int>(step.at("tokens").as_number()), number_of(step, "slack_ms"),
                                                 step.at("now").as_number(), static_cast<std::size_t>(step.at("first").as_number()),
                                                 pinned == nullptr ? std::nullopt : std::optional(pinned->as_text()),
                                                 number_of(step, "deadline_ms")});
    testing::require(decision.subnet == step.at("subnet").as_text(), where + ": another subnet, " + decision.subnet);
    testing::require(decision.reason == step.at("reason").as_text(), where + ": another reason, " + decision.reason);
    same(static_cast<double>(decision.level), "level");
    same(decision.expected_ms, "expected_ms");
    same(decision.predicted_ms, "predicted_ms");
    reasons.insert(decision.reason);
    if (const auto run_ms = number_of(step, "run_ms")) {
      const Json* met = step.given("met");
      controller.record(decision, *run_ms, met == nullptr ? std::nullopt : std::optional(met->as_boolean()),
                        step.at("learnt_s").as_number());
    }
    same(controller.slow_down(), "slow_down");
  }
}

}  // namespace

int main(int, char** arguments) {
  const Json decisions = testing::json_of(std::string(arguments[1]) + "/tiny.vectors/decisions.json");
  testing::Suite suite;
  std::set<std::string> reasons;
  for (const Json& scenario : decisions.at("scenarios").list)
    suite.test("decisions are those of Python: " + scenario.at("name").text, [&] { check(scenario, decisions.at("table"), reasons); });
  suite.test("shares and quantiles of the normal distribution are those of Python", [&] {
    int pairs = 0;
    const auto compare = [&](const char* which, double (*of)(double)) {
      for (const Json& pair : decisions.at("normal").at(which).list) {
        const double at = pair.list[0].as_number(), expected = pair.list[1].as_number();
        testing::close(of(at), expected, tolerance * std::abs(expected), std::string(which) + " at " + std::to_string(at));
        ++pairs;
      }
    };
    compare("shares", normal_share);
    compare("quantiles", normal_quantile);
    testing::require(pairs > 20, "too few pairs");
  });
  suite.test("there are decisions of every kind", [&] {
    const std::set<std::string> known = {"accuracy_floor", "best_effort", "cpu_share", "fits",
                                         "likely", "no_deadline", "pinned", "rejected"};
    testing::require(reasons == known, "other kinds");
  });
  return suite.ended();
}
