"""Simulator: replays requests through the policy of the engine and through others. The engine never imports it."""
