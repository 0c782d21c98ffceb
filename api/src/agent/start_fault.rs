//! Why an agent cannot start for another reason than its GPUs, in a word.

use super::last_word::last_word;

/// Why an agent cannot start for another reason than its GPUs: a closed list, so that whoever tells it further tells
/// nothing else that the agent says. The word stands where that of a [`GpuFault`](super::GpuFault) does. The words do
/// not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StartFault {
    /// The model's file cannot be opened or read.
    ModelUnreadable,
    /// The model's file is no GGUF file, is not complete, or lacks what its architecture needs.
    ModelMalformed,
    /// The node's copy of the model, which a download had verified, is not there any more.
    ModelCopyGone,
    /// The model's file has another digest than the offer says.
    ModelDigest,
    /// The model's architecture is not implemented.
    ModelUnsupported,
    /// The authority of the operator's certificate cannot be used, or no certificate could be made.
    TlsUnusable,
}

impl StartFault {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::ModelUnreadable,
        Self::ModelMalformed,
        Self::ModelCopyGone,
        Self::ModelDigest,
        Self::ModelUnsupported,
        Self::TlsUnusable,
    ];

    /// The word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::ModelUnreadable => "ModelUnreadable",
            Self::ModelMalformed => "ModelMalformed",
            Self::ModelCopyGone => "ModelCopyGone",
            Self::ModelDigest => "ModelDigest",
            Self::ModelUnsupported => "ModelUnsupported",
            Self::TlsUnusable => "TlsUnusable",
        }
    }

    /// What it means, and what the farm can do.
    pub const fn words(self) -> &'static str {
        match self {
            Self::ModelUnreadable => {
                "it cannot read its model's file: let user 65532 read it, and look at the disk if it may"
            }
            Self::ModelMalformed => {
                "its model's file is no whole GGUF file: it is truncated, or something else; fetch it again"
            }
            Self::ModelCopyGone => {
                "its node's copy of the model was evicted since it started last: it is downloaded again; raise the chart's \
                 models.cache.size if that comes back"
            }
            Self::ModelDigest => {
                "its model's file has another sha256 than the offer says: fetch the file again, or correct source.sha256"
            }
            Self::ModelUnsupported => {
                "its model's architecture is not supported: offer a model of the Llama, Qwen2 or Qwen3 architecture"
            }
            Self::TlsUnusable => {
                "it cannot use the operator's authority: delete the Secret of the agents, and the operator makes a new one"
            }
        }
    }

    /// Whether it is the model's file that is to be seen to.
    pub const fn is_of_file(self) -> bool {
        !matches!(self, Self::TlsUnusable)
    }

    /// The fault that an agent's last words name, whatever else they say.
    pub fn of_last_words(words: &str) -> Option<Self> {
        let word = last_word(words)?;
        Self::ALL.into_iter().find(|fault| fault.word() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::StartFault;
    use crate::agent::GpuFault;

    #[test]
    fn every_reason_is_read_back_from_last_words() {
        for fault in StartFault::ALL {
            let words = format!("a line\nerror: {}: a sentence: why\n", fault.word());
            assert_eq!(StartFault::of_last_words(&words), Some(fault));
            assert_eq!(GpuFault::of_last_words(&words), None, "no word means two things");
        }
        assert_eq!(
            StartFault::of_last_words("error: cannot read model file /m: x"),
            None
        );
    }

    proptest::proptest! {
        #[test]
        fn whatever_an_agent_says_is_read_without_a_panic(words: String) {
            let _ = StartFault::of_last_words(&words);
        }
    }
}
