// The controller: decides the subnet of each request and learns from its outcome; no timers, clocks or files.
//
// The rules of `gearshift.runtime.policy`, for one request after another (docs/bundle.md, "The decision").

#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "gearshift/gearshift.h"
#include "ladder.h"
#include "latency_model.h"
#include "restraint.h"

namespace gearshift::detail {

// Share of the requests that a predicted bound covers where no target was asked for.
inline constexpr double usual_share = 0.99;

// The objective; raises InputError for a field that is out of its range.
inline const Objective& checked_objective(const Objective& wanted) {
  if (wanted.target && !(*wanted.target >= 0.5 && *wanted.target < 1))
    throw InputError("target: expected a share of deadlines from 0.5 to below 1, got " + repr(*wanted.target));
  if (!(wanted.late_value >= 0 && wanted.late_value <= 1))
    throw InputError("late_value: expected a share from 0 to 1, got " + repr(wanted.late_value));
  const auto check = [](const char* name, const std::optional<double>& share) {
    if (share && !(*share > 0 && *share <= 1))
      throw InputError(std::string(name) + ": expected a share above 0 and up to 1, got " + repr(*share));
  };
  check("min_accuracy", wanted.min_accuracy);
  check("max_cpu_share", wanted.max_cpu_share);
  if (wanted.on_miss != "best_effort" && wanted.on_miss != "reject")
    throw InputError("on_miss: expected best_effort or reject, got " + repr(wanted.on_miss));
  return wanted;
}

struct Request {
  int tokens;
  std::optional<double> slack_ms;  // time left for the graph; nullopt without a deadline
  double now;                      // in seconds, on a clock that only goes forward
  std::size_t first = 0;           // rung that heat, battery or the like allow
  std::optional<std::string> pinned;
  std::optional<double> deadline_ms;  // slack at its arrival; nullopt if it did not wait
};

struct Decision {
  std::string subnet;
  double expected_ms;   // median time of the graph on the unloaded device
  double predicted_ms;  // bound that the graph stays under with the target's probability
  std::string reason;
  std::size_t level;  // first rung of the ladder that caps and back-off allowed
};

class Controller {
 public:
  // `rows`: number of rows behind the accuracies, 0 to take them as they are. `cpus`: CPUs / threads of a call.
  Controller(const Accuracies& accuracies, const LatencyTable& table, const Objective& objective, int rows, double cpus)
      : objective_(objective),
        cpus_(cpus),
        smoothed_(smoothed(accuracies, expected_times(table), rows)),
        ladder_(ladder_of(smoothed_, expected_times(table))),
        latency_(table, ladder_, objective.target.value_or(usual_share)),
        rungs_(rungs_above(ByName(accuracies.begin(), accuracies.end()), ladder_, objective.min_accuracy)),
        last_(rungs_.back()) {
    const ByName by_name(smoothed_.begin(), smoothed_.end());
    for (const std::string& name : ladder_) values_.push_back(by_name.at(name));
  }

  // Names of the subnets that are worth switching between, the most accurate first.
  const std::vector<std::string>& ladder() const { return ladder_; }
  double slow_down() const { return latency_.slow_down(); }

  Decision decide(const Request& request) {
    const Prediction times = latency_.predict(request.tokens, request.now);
    note_pause(request.now);
    const std::size_t from = std::min(request.first, last_);
    if (request.pinned) return pinned(*request.pinned, request.tokens, times.factor, from);
    Choice choice = request.slack_ms ? with_deadline(times, from, *request.slack_ms, request.now) : without_deadline(times, from);
    if (request.slack_ms) note_turn(times, choice.reason, *request.slack_ms, request.now, request.deadline_ms);
    return {ladder_[choice.rung], times.medians[choice.rung], times.bound_ms(choice.rung), choice.reason, choice.level};
  }

  // Learn from the time of the graph, and from whether the deadline was met (nullopt: there was none).
  void record(const Decision& decision, double run_ms, std::optional<bool> met, double now) {
    const double ratio = run_ms / decision.expected_ms;
    if (!std::isfinite(ratio) || ratio <= 0) return;
    if (decision.reason == "fits" && met) backoff_.record(decision.expected_ms, *met, now);
    latency_.learn(decision.subnet, run_ms, decision.expected_ms, decision.predicted_ms, now);
  }

 private:
  struct Choice {
    std::size_t rung;
    std::string reason;
    std::size_t level;
  };

  Decision pinned(const std::string& name, int tokens, double factor, std::size_t level) const {
    const bool is_known = std::any_of(smoothed_.begin(), smoothed_.end(), [&](const auto& one) { return one.first == name; });
    if (!is_known) {
      std::vector<std::string> names;
      for (const auto& [known, accuracy] : smoothed_) names.push_back(known);
      throw UnknownSubnetError("unknown subnet " + repr(name) + "; expected one of " + joined(names));
    }
    const double median = latency_.median_ms(name, tokens);
    return {name, median, median * factor * latency_.bias_of(name), "pinned", level};
  }

  Choice without_deadline(const Prediction& times, std::size_t first) const {
    if (objective_.max_cpu_share) {
      const double budget_ms = gap_s_ ? *objective_.max_cpu_share * cpus_ * *gap_s_ * 1e3 : infinity;
      for (const std::size_t rung : allowed(first))
        if (times.medians[rung] <= budget_ms) return {rung, "cpu_share", first};
      return {last_, "cpu_share", first};
    }
    if (objective_.min_accuracy) return {last_, "accuracy_floor", first};
    return {first, "no_deadline", first};
  }

  Choice with_deadline(const Prediction& times, std::size_t first, double slack_ms, double now) {
    const double limit_ms = backoff_.limit_ms(now);
    std::size_t level = first;
    while (level < last_ && times.medians[level] >= limit_ms) ++level;
    const std::optional<std::size_t> best = worthiest(times, first, slack_ms, limit_ms);
    if (best && times.bound_ms(*best) <= slack_ms) return {*best, "fits", level};
    const std::size_t rung = fastest(times, first);
    const bool fits = times.bound_ms(rung) <= slack_ms;
    if (!fits && objective_.on_miss == "reject" && times.silence_s < idle_s) return {rung, "rejected", level};
    if (!best) return {rung, fits ? "fits" : "best_effort", level};
    return {*best, fits ? "likely" : "best_effort", level};
  }

  // The rung of the highest expected value; nullopt if none keeps the target, or none has a chance.
  std::optional<std::size_t> worthiest(const Prediction& times, std::size_t first, double slack_ms, double limit_ms) const {
    // Largest probability of being in time at which a request counts as late on every rung; multiple of its bound within
    // which a run is in time for certain; slack up to which nothing is in time.
    constexpr double hopeless = 1e-3, sure = 2, none_ms = 1e-6;
    const double late_value = objective_.late_value, left_ms = slack_ms / times.first_call;
    const double log_left = left_ms > none_ms ? std::log(left_ms) : -infinity;
    const auto run_ms = [&](std::size_t rung) { return times.medians[rung] * times.biases[rung]; };
    const double least = arrivals_.made_late(run_ms(last_) * times.usual);
    double best = -infinity, most = late_value;
    std::optional<std::size_t> chosen;
    for (const std::size_t rung : allowed(first)) {
      if (objective_.target && times.bound_ms(rung) > slack_ms) continue;
      if (times.medians[rung] >= limit_ms && rung != last_) continue;
      const bool certain = run_ms(rung) <= slack_ms / (sure * times.factor);
      const double chance = certain ? 1 : times.outlook.within(log_left - std::log(run_ms(rung)));
      if (chance < hopeless && rung != last_ && late_value == 0) continue;
      const double made_late = arrivals_.made_late(run_ms(rung) * times.usual) - least;
      const double timely = chance * values_[rung] - made_late * values_[last_];
      const double value = values_[rung] * late_value + (1 - late_value) * timely;
      if (value > best) {
        best = value;
        chosen = rung;
      }
      most = std::max(most, chance);
      if (rung < last_ && best >= values_[rung + 1]) break;
    }
    return most >= hopeless ? chosen : std::nullopt;
  }

  // The rungs that caps and the floor allow, the most accurate first.
  std::vector<std::size_t> allowed(std::size_t first) const {
    std::vector<std::size_t> made;
    std::copy_if(rungs_.begin(), rungs_.end(), std::back_inserter(made), [&](std::size_t rung) { return rung >= first; });
    return made;
  }

  std::size_t fastest(const Prediction& times, std::size_t first) const {
    const std::vector<std::size_t> rungs = allowed(first);
    return *std::min_element(rungs.begin(), rungs.end(), [&](std::size_t one, std::size_t other) {
      return times.medians[one] * times.biases[one] < times.medians[other] * times.biases[other];
    });
  }

  void note_pause(double now) {
    constexpr double memory = 0.1;
    if (decided_at_) {
      const double gap = std::max(0.0, now - *decided_at_);
      gap_s_ = gap_s_ ? *gap_s_ + memory * (gap - *gap_s_) : gap;
    }
    decided_at_ = now;
  }

  void note_turn(const Prediction& times, const std::string& reason, double slack_ms, double now, std::optional<double> deadline_ms) {
    const double waited_ms = deadline_ms ? *deadline_ms - slack_ms : 0;
    arrivals_.came(now - waited_ms / 1e3, slack_ms + waited_ms, times.medians[last_] * times.usual);
    if (reason != "rejected") arrivals_.begins(now);
  }

  Objective objective_;
  double cpus_;
  Accuracies smoothed_;
  std::vector<std::string> ladder_;
  LatencyModel latency_;
  std::vector<std::size_t> rungs_;
  std::size_t last_;
  std::vector<double> values_;
  Backoff backoff_;
  Arrivals arrivals_;
  std::optional<double> gap_s_, decided_at_;
};

}  // namespace gearshift::detail
