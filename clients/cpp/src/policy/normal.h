// The normal distribution of mean 0 and deviation 1: its quantile, and the share below a number.

#pragma once

#include <cmath>

namespace gearshift::detail {

// Number that a share of a normal distribution of mean 0 and deviation 1 lies below: Wichura 1988, AS 241 (PPND16).
inline double normal_quantile(double share) {
  static constexpr double central[2][8] = {
      {2.50908092873012267e3, 3.3430575583588128105e4, 6.7265770927008700853e4, 4.5921953931549871457e4,
       1.3731693765509461125e4, 1.9715909503065514427e3, 1.3314166789178437745e2, 3.387132872796366608},
      {5.2264952788528545610e3, 2.8729085735721942674e4, 3.9307895800092710610e4, 2.1213794301586595867e4,
       5.3941960214247511077e3, 6.8718700749205790830e2, 4.2313330701600911252e1, 1}};
  static constexpr double middle[2][8] = {
      {7.74545014278341407640e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1, 1.27045825245236838258,
       3.64784832476320460504, 5.76949722146069140550, 4.63033784615654529590, 1.42343711074968357734},
      {1.05075007164441684324e-9, 5.47593808499534494600e-4, 1.51986665636164571966e-2, 1.48103976427480074590e-1,
       6.89767334985100004550e-1, 1.67638483018380384940, 2.05319162663775882187, 1}};
  static constexpr double far[2][8] = {
      {2.01033439929228813265e-7, 2.71155556874348757815e-5, 1.24266094738807843860e-3, 2.65321895265761230930e-2,
       2.96560571828504891230e-1, 1.78482653991729133580, 5.46378491116411436990, 6.65790464350110377720},
      {2.04426310338993978564e-15, 1.42151175831644588870e-7, 1.84631831751005468180e-5, 7.86869131145613259100e-4,
       1.48753612908506148525e-2, 1.36929880922735805310e-1, 5.99832206555887937690e-1, 1}};
  const auto ratio = [](const double (&table)[2][8], double value) {
    double parts[2] = {0, 0};
    for (int which = 0; which < 2; ++which)
      for (const double one : table[which]) parts[which] = parts[which] * value + one;
    return parts[0] / parts[1];
  };
  const double q = share - 0.5;
  if (std::abs(q) <= 0.425) return q * ratio(central, 0.180625 - q * q);
  const double r = std::sqrt(-std::log(q <= 0 ? share : 1 - share));
  const double value = r <= 5 ? ratio(middle, r - 1.6) : ratio(far, r - 5);
  return q < 0 ? -value : value;
}

// Share of the distribution that lies below a number.
inline double normal_share(double value) { return 0.5 * std::erfc(-value * std::sqrt(0.5)); }

}  // namespace gearshift::detail
