//! How an agent that ends says why.

/// The word with which an agent's last words begin, `error: WORD: …`: the last line counts, and lines of its log may
/// stand before it.
pub(super) fn last_word(words: &str) -> Option<&str> {
    let line = words.lines().rev().find(|line| !line.trim().is_empty())?;
    let (word, _) = line.trim().strip_prefix("error: ")?.split_once(':')?;
    Some(word)
}
