"""Device profiles: the fingerprint of a device, and the latencies measured on it."""

from gearshift.device_profiles.fingerprint import Fingerprint as Fingerprint
from gearshift.device_profiles.fingerprint import read_fingerprint as read_fingerprint
from gearshift.device_profiles.operators import Operator as Operator
from gearshift.device_profiles.operators import OperatorCosts as OperatorCosts
from gearshift.device_profiles.profile import DeviceProfile as DeviceProfile
from gearshift.device_profiles.profile import LatencyTable as LatencyTable
from gearshift.device_profiles.profile import load_profile as load_profile
from gearshift.device_profiles.profile import save_profile as save_profile
