// Latency table of a bundle on a device: interpolation between its lengths, and the file that keeps tables.

#pragma once

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "gearshift/gearshift.h"
#include "json.h"
#include "words.h"

namespace gearshift::detail {

// Median time in ms of a subnet for one text, on the unloaded device; never less than that of the shortest length.
inline double time_at(const LatencyTable& table, const std::string& name, int tokens) {
  const std::vector<double>& times = table.median_ms.at(name);
  const std::vector<int>& lengths = table.lengths;
  const std::size_t count = lengths.size();
  if (tokens <= lengths[0]) return times[0];
  if (count == 1) return std::max(times[0] * tokens / lengths[0], times[0]);
  std::size_t right = 1;
  while (right + 1 < count && lengths[right] < tokens) ++right;
  const double slope = (times[right] - times[right - 1]) / (lengths[right] - lengths[right - 1]);
  const double time = tokens > lengths[count - 1]
                          ? times[count - 1] + std::max(slope, 0.0) * (tokens - lengths[count - 1])
                          : times[right - 1] + slope * (tokens - lengths[right - 1]);
  return std::max(time, times[0]);
}

// Lengths in tokens to time: 8, 32, 128 and so on, and the longest that the bundle accepts.
inline std::vector<int> default_lengths(int longest) {
  std::vector<int> lengths;
  for (int length = 8; length * 2 <= longest; length *= 4) lengths.push_back(length);
  lengths.push_back(longest);
  return lengths;
}

// The table; raises ProfileError unless it has these subnets, ascending lengths and positive times.
inline LatencyTable checked_table(const LatencyTable& table, const std::vector<std::string>& names) {
  bool whole = !table.lengths.empty() && table.lengths[0] >= 1;
  for (std::size_t place = 1; place < table.lengths.size(); ++place) whole = whole && table.lengths[place] > table.lengths[place - 1];
  LatencyTable made{table.lengths, {}};
  for (const std::string& name : names) {
    const auto found = table.median_ms.find(name);
    whole = whole && found != table.median_ms.end() && found->second.size() == table.lengths.size() &&
            std::all_of(found->second.begin(), found->second.end(), [](double one) { return one > 0 && std::isfinite(one); });
    if (!whole) throw ProfileError("latency table: expected positive milliseconds of every subnet; time it again");
    made.median_ms[name] = found->second;
  }
  return made;
}

// What a table was measured with.
struct TableKey {
  std::string manifest, precision, device;
  int threads;
};

// First usable table of the text of a `latencies.json` for a key; tables without a device are of any.
inline std::optional<LatencyTable> kept_table(const std::string& content, const TableKey& key, const std::vector<std::string>& names) {
  try {
    const Json raw = JsonReader::read(content);
    if (raw.at("schema_version").as_number() != 1) return std::nullopt;
    for (const Json& one : raw.at("tables").as_list()) {
      const Json* device = one.given("device");
      if (one.at("manifest").as_text() != key.manifest || one.at("precision").as_text() != key.precision ||
          one.at("threads").as_number() != key.threads || (device != nullptr && device->as_text() != key.device))
        continue;
      LatencyTable table;
      for (const Json& length : one.at("lengths").as_list()) table.lengths.push_back(static_cast<int>(length.as_number()));
      for (const auto& [name, times] : one.at("median_ms").as_object())
        for (const Json& time : times.as_list()) table.median_ms[name].push_back(time.as_number());
      try {
        return checked_table(table, names);
      } catch (const ProfileError&) {
      }
    }
  } catch (const std::runtime_error&) {
  }
  return std::nullopt;
}

inline std::string json_text(const std::string& text) {
  std::string made = "\"";
  for (const char one : text) {
    if (one == '"' || one == '\\') made += '\\';
    if (static_cast<unsigned char>(one) >= 32) made += one;
  }
  return made + '"';
}

// A table as an entry of `latencies.json`.
inline std::string table_entry(const TableKey& key, const LatencyTable& table) {
  const auto listed = [](const auto& values) {
    std::string made;
    for (const auto one : values) made += (made.empty() ? "" : ", ") + repr(static_cast<double>(one));
    return "[" + made + "]";
  };
  std::string times;
  for (const auto& [name, medians] : table.median_ms) times += (times.empty() ? "" : ", ") + json_text(name) + ": " + listed(medians);
  return "{\"manifest\": " + json_text(key.manifest) + ", \"precision\": " + json_text(key.precision) +
         ", \"threads\": " + std::to_string(key.threads) + ", \"device\": " + json_text(key.device) +
         ", \"lengths\": " + listed(table.lengths) + ", \"median_ms\": {" + times + "}}";
}

}  // namespace gearshift::detail
