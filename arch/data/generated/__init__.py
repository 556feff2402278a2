"""Examples made on the device."""
