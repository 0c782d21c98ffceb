//! Which ended settlements are kept for people to read.

/// Ended settlements kept of a provider, however old: a day at one an hour, rounded down.
pub const KEEP_NEWEST: usize = 20;

/// Ended settlements are kept this long, however many: jobs learn from them that they are paid within seconds, and
/// a failed one says for how long its channels wait.
pub const KEEP_SECONDS: i64 = 6 * 3600;

/// A settlement that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Name of the settlement.
    pub name: String,
    /// When it ended, in Unix seconds.
    pub at: i64,
}

/// Names of the ended settlements of one provider that need not be kept.
pub fn superfluous(mut ended: Vec<Ended>, now: i64) -> Vec<String> {
    ended.sort_by(|a, b| (b.at, &b.name).cmp(&(a.at, &a.name)));
    let old = |settlement: &Ended| settlement.at.saturating_add(KEEP_SECONDS) <= now;
    ended
        .into_iter()
        .skip(KEEP_NEWEST)
        .filter(old)
        .map(|settlement| settlement.name)
        .collect()
}
