//! From tokens' bytes to text, up to a stop.
//!
//! Bytes are held back while they are an incomplete character, and text while it may be the beginning of a stop.

/// The text of one completion as it grows.
#[derive(Debug, Clone)]
pub struct TextStream {
    stops: Vec<String>,
    /// Bytes that are not yet a whole character, at most 3.
    bytes: Vec<u8>,
    /// Text that may begin a stop.
    held: String,
}

/// What a push led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// Text that is certain.
    pub text: String,
    /// Whether a stop was found; what follows it is dropped.
    pub stopped: bool,
}

impl TextStream {
    /// A stream that ends at any of `stops`, none of which is empty.
    pub fn new(stops: Vec<String>) -> Self {
        Self {
            stops,
            bytes: Vec::new(),
            held: String::new(),
        }
    }

    /// Adds a token's bytes.
    pub fn push(&mut self, bytes: &[u8]) -> Pushed {
        self.bytes.extend_from_slice(bytes);
        self.take_characters();
        let found = self
            .stops
            .iter()
            .filter_map(|stop| self.held.find(stop.as_str()))
            .min();
        if let Some(at) = found {
            self.held.truncate(at);
            return Pushed {
                text: std::mem::take(&mut self.held),
                stopped: true,
            };
        }
        let keep = self
            .stops
            .iter()
            .map(|stop| overlap(&self.held, stop))
            .max()
            .unwrap_or(0);
        let text = self.held.drain(..self.held.len() - keep).collect();
        Pushed { text, stopped: false }
    }

    /// What was held back; incomplete characters become U+FFFD.
    pub fn finish(&mut self) -> String {
        let mut text = std::mem::take(&mut self.held);
        text.push_str(&String::from_utf8_lossy(&std::mem::take(&mut self.bytes)));
        text
    }

    /// Moves whole characters from `bytes` to `held`; bytes that begin no character become U+FFFD.
    fn take_characters(&mut self) {
        loop {
            match std::str::from_utf8(&self.bytes) {
                Ok(text) => {
                    self.held.push_str(text);
                    self.bytes.clear();
                    return;
                }
                Err(error) => {
                    let valid = error.valid_up_to();
                    self.held.push_str(&String::from_utf8_lossy(&self.bytes[..valid]));
                    let Some(invalid) = error.error_len() else {
                        self.bytes.drain(..valid);
                        return;
                    };
                    self.held.push(char::REPLACEMENT_CHARACTER);
                    self.bytes.drain(..valid + invalid);
                }
            }
        }
    }
}

/// Bytes at the end of `text` that begin `stop`.
fn overlap(text: &str, stop: &str) -> usize {
    stop.char_indices()
        .map(|(at, _)| at)
        .filter(|at| *at > 0 && text.ends_with(&stop[..*at]))
        .max()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(stops: &[&str]) -> TextStream {
        TextStream::new(stops.iter().map(|stop| (*stop).to_owned()).collect())
    }

    fn text(pushed: &Pushed) -> &str {
        &pushed.text
    }

    #[test]
    fn a_character_split_over_tokens_appears_once_it_is_whole() {
        let mut stream = stream(&[]);
        assert_eq!(text(&stream.push(&[b'a', 0xC3])), "a");
        assert_eq!(text(&stream.push(&[0xA9, b'b'])), "éb");
        assert_eq!(stream.finish(), "");
    }

    #[test]
    fn broken_bytes_become_replacement_characters() {
        let mut stream = stream(&[]);
        assert_eq!(text(&stream.push(&[0xFF, b'a'])), "\u{FFFD}a");
        assert_eq!(text(&stream.push(&[0xE2, 0x82])), "");
        assert_eq!(stream.finish(), "\u{FFFD}");
    }

    #[test]
    fn a_stop_over_two_tokens_ends_the_text_before_it() {
        let mut stream = stream(&["END", "\n\n"]);
        assert_eq!(
            stream.push(b"one E"),
            Pushed {
                text: "one ".into(),
                stopped: false
            }
        );
        assert_eq!(
            stream.push(b"ND two"),
            Pushed {
                text: String::new(),
                stopped: true
            }
        );
    }

    #[test]
    fn what_only_looked_like_a_stop_is_delivered() {
        let mut stream = stream(&["END"]);
        assert_eq!(text(&stream.push(b"EN")), "");
        assert_eq!(text(&stream.push(b"tire")), "ENtire");
        assert_eq!(text(&stream.push(b" E")), " ");
        assert_eq!(stream.finish(), "E");
    }

    proptest::proptest! {
        #[test]
        fn without_stops_nothing_is_lost_however_bytes_are_cut(text: String, cut in 1usize..7) {
            let mut stream = stream(&[]);
            let mut got: String = text.as_bytes().chunks(cut).map(|bytes| stream.push(bytes).text).collect();
            got.push_str(&stream.finish());
            proptest::prop_assert_eq!(got, text);
        }
    }
}
