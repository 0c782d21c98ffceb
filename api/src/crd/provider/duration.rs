//! How durations are written.

/// What a field that holds a duration takes: hours, minutes, seconds and milliseconds, each once and in this order, as
/// Go writes them.
pub const DURATION_PATTERN: &str = "^([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$";
