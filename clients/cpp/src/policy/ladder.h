// The ladder: the subnets of a pool that are worth switching between on this device, its Pareto front.

#pragma once

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "../words.h"
#include "gearshift/gearshift.h"
#include "slow_down.h"

namespace gearshift::detail {

using ByName = std::map<std::string, double>;
// Names and accuracies in the order of the pool, which decides between equals.
using Accuracies = std::vector<std::pair<std::string, double>>;

// Time that subnets are compared by: the sum of the medians over the lengths, in ms.
inline ByName expected_times(const LatencyTable& table) {
  ByName made;
  for (const auto& [name, times] : table.median_ms) {
    double& sum = made[name];
    for (const double one : times) sum += one;
  }
  return made;
}

// Names of the Pareto front of accuracy and time, the most accurate (and slowest) first.
inline std::vector<std::string> ladder_of(Accuracies accuracies, const ByName& times) {
  std::stable_sort(accuracies.begin(), accuracies.end(), [&](const auto& one, const auto& other) {
    if (one.second != other.second) return one.second > other.second;
    return times.at(one.first) < times.at(other.first);
  });
  std::vector<std::string> front;
  for (const auto& [name, accuracy] : accuracies)
    if (front.empty() || times.at(name) < times.at(front.back())) front.push_back(name);
  return front;
}

// Difference of two accuracies on the same rows that luck alone hardly makes: two standard errors.
inline double noise_of(double accuracy, int rows) {
  const double share = (clip(accuracy, 0, 1) * rows + 2) / (rows + 4);
  return 2 * std::sqrt(share * (1 - share) / (rows + 4));
}

// The rising sequence that is nearest to the values: pool adjacent violators.
inline std::vector<double> isotonic(const std::vector<double>& values) {
  std::vector<std::pair<double, std::size_t>> blocks;
  for (const double value : values) {
    double mean = value;
    std::size_t count = 1;
    while (!blocks.empty() && blocks.back().first >= mean - 1e-12) {
      const auto [before, size] = blocks.back();
      blocks.pop_back();
      mean = (before * static_cast<double>(size) + mean * static_cast<double>(count)) / static_cast<double>(size + count);
      count += size;
    }
    blocks.emplace_back(mean, count);
  }
  std::vector<double> made;
  for (const auto& [mean, count] : blocks) made.insert(made.end(), count, mean);
  return made;
}

// Accuracies made to rise with time where rows are too few to tell; with 0 rows, not known, nothing changes.
inline Accuracies smoothed(const Accuracies& stated, const ByName& times, int rows) {
  if (rows == 0) return stated;
  Accuracies ordered = stated;
  std::stable_sort(ordered.begin(), ordered.end(), [&](const auto& one, const auto& other) {
    const double first = times.at(one.first), second = times.at(other.first);
    return first != second ? first < second : one.second > other.second;
  });
  std::vector<std::string> left;
  std::vector<double> values;
  std::map<std::string, std::string> as_fast;
  double best = -infinity;
  for (const auto& [name, accuracy] : ordered) {
    if (!left.empty() && times.at(name) == times.at(left.back())) {
      as_fast[name] = left.back();
    } else if (left.empty() || best - accuracy <= noise_of(best, rows)) {
      left.push_back(name);
      values.push_back(accuracy);
      best = std::max(best, accuracy);
    }
  }
  const std::vector<double> risen = isotonic(values);
  ByName changed;
  for (std::size_t place = 0; place < left.size(); ++place) changed[left[place]] = risen[place];
  Accuracies made = stated;
  for (auto& [name, accuracy] : made) {
    if (const auto equal = as_fast.find(name); equal != as_fast.end()) accuracy = std::min(accuracy, changed.at(equal->second));
    else if (const auto found = changed.find(name); found != changed.end()) accuracy = found->second;
  }
  return made;
}

// The rungs whose accuracy is at least `least`, as the bundle states it; raises InputError if there is none.
inline std::vector<std::size_t> rungs_above(const ByName& stated, const std::vector<std::string>& ladder, std::optional<double> least) {
  std::vector<std::size_t> rungs;
  for (std::size_t rung = 0; rung < ladder.size(); ++rung)
    if (!least || stated.at(ladder[rung]) >= *least) rungs.push_back(rung);
  if (!rungs.empty()) return rungs;
  std::string best = ladder[0];
  for (const std::string& one : ladder)
    if (stated.at(one) > stated.at(best)) best = one;
  throw InputError("min_accuracy: expected at most " + repr(stated.at(best)) + ", that of " + best +
                   ", the best on this device's ladder, got " + repr(*least));
}

}  // namespace gearshift::detail
