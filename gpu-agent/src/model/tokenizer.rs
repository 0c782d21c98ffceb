//! Text to tokens and back, built from a file's vocabulary, merges and pre-tokenizer name.

use tokenizers::{
    AddedToken, SplitDelimiterBehavior,
    models::bpe::{BPE, Vocab},
    pre_tokenizers::{
        PreTokenizerWrapper,
        byte_level::ByteLevel,
        sequence::Sequence,
        split::{Split, SplitPattern},
    },
};

use crate::weights::file::{ModelError, ModelFile};

/// Token types of GGUF that are matched in the text as a whole.
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

/// Names of tokens that end a turn, whichever of them a file declares as its end of sequence.
const END_NAMES: [&str; 7] = [
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|end_of_text|>",
    "<|eom_id|>",
    "<|end|>",
    "<end_of_turn>",
];

const CONTRACTIONS: &str = "'s|'t|'re|'ve|'m|'ll|'d";
const ANY_CASE_CONTRACTIONS: &str = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";

/// What one token stands for.
#[derive(Debug, Clone)]
struct Piece {
    /// Bytes of text; not always whole characters.
    bytes: Box<[u8]>,
    /// Whether it directs the model instead of being text.
    control: bool,
    /// Whether it is found in a text as a whole.
    whole: bool,
}

/// Why a text has no tokens.
#[derive(Debug, thiserror::Error)]
#[error("cannot tokenise a text of {bytes} bytes: {cause}")]
pub struct EncodeError {
    bytes: usize,
    cause: String,
}

/// A model's tokenizer.
#[derive(Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    pieces: Vec<Piece>,
    bos: Option<u32>,
    add_bos: bool,
    ends: Vec<u32>,
}

impl Tokenizer {
    /// Builds the tokenizer that a file describes.
    ///
    /// # Errors
    /// A kind of tokenizer or pre-tokenizer that is not supported, or lists that contradict each other.
    pub fn read(file: &ModelFile) -> Result<Self, ModelError> {
        let header = file.header();
        let wrap = |error| file.wrap(error);
        let kind = header.text("tokenizer.ggml.model").map_err(wrap)?;
        if kind != Some("gpt2") {
            let found = kind.unwrap_or("missing");
            return Err(file.refuse(
                "tokenizer.ggml.model",
                &format!("is {found}; only gpt2 (byte-level BPE) is supported"),
            ));
        }
        let strings = |key: &str| {
            header
                .require(key)
                .map_err(wrap)?
                .as_strings()
                .ok_or_else(|| file.refuse(key, "is not a list of strings"))
        };
        let (tokens, merges) = (
            strings("tokenizer.ggml.tokens")?,
            strings("tokenizer.ggml.merges")?,
        );
        let types = header
            .require("tokenizer.ggml.token_type")
            .map_err(wrap)?
            .as_integers()
            .unwrap_or_default();
        if types.len() != tokens.len() {
            return Err(file.refuse("tokenizer.ggml.token_type", "has not one integer a token"));
        }
        let pre = header
            .text("tokenizer.ggml.pre")
            .map_err(wrap)?
            .unwrap_or("default");
        let inner = build(file, tokens, merges, types, pre)?;
        let id = |key: &str| match header.u32(key).map_err(wrap)? {
            Some(id) if id as usize >= tokens.len() => {
                Err(file.refuse(key, &format!("is {id}, beyond the vocabulary")))
            }
            id => Ok(id),
        };
        let bos = id("tokenizer.ggml.bos_token_id")?;
        let mut ends: Vec<u32> = [
            id("tokenizer.ggml.eos_token_id")?,
            id("tokenizer.ggml.eot_token_id")?,
        ]
        .into_iter()
        .flatten()
        .collect();
        ends.extend(END_NAMES.iter().filter_map(|name| inner.token_to_id(name)));
        ends.sort_unstable();
        ends.dedup();
        let add_bos = header
            .bool("tokenizer.ggml.add_bos_token")
            .map_err(wrap)?
            .unwrap_or(pre == "llama-bpe");
        let pieces = tokens
            .iter()
            .zip(types)
            .map(|(token, &kind)| piece(token, kind))
            .collect();
        Ok(Self {
            inner,
            pieces,
            bos,
            add_bos,
            ends,
        })
    }

    /// Tokens of a text; special tokens in it are recognised, none is added.
    ///
    /// # Errors
    /// The text cannot be split, which happens only where the splitting pattern gives up.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, EncodeError> {
        let encoding = self.inner.encode_fast(text, false).map_err(|error| EncodeError {
            bytes: text.len(),
            cause: error.to_string(),
        })?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Tokens of a raw prompt: as [`Tokenizer::encode`], after the beginning-of-sequence token where the model wants
    /// one and the prompt does not begin with it.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_prompt(&self, text: &str) -> Result<Vec<u32>, EncodeError> {
        let mut tokens = self.encode(text)?;
        if self.add_bos
            && let Some(bos) = self.bos
            && tokens.first() != Some(&bos)
        {
            tokens.insert(0, bos);
        }
        Ok(tokens)
    }

    /// The bytes that a token adds to the text: none for a control token or one outside the vocabulary.
    pub fn text_bytes(&self, token: u32) -> &[u8] {
        match self.pieces.get(token as usize) {
            Some(piece) if !piece.control => &piece.bytes,
            _ => &[],
        }
    }

    /// The token's own name, as templates use it.
    pub fn name(&self, token: u32) -> Option<String> {
        self.inner.id_to_token(token)
    }

    /// Names that direct the model where they stand in a text: control tokens, and tokens that look like them in files
    /// whose converter took them for text of the user's own.
    pub fn control_names(&self) -> impl Iterator<Item = String> {
        self.names(|piece, name| piece.control || looks_like_control(name))
    }

    /// Names of all other tokens that are found in a text as a whole and are written as tags are: what such a token
    /// does depends on the chat template. Runs of white space and the like are among the rest, and are text.
    pub fn added_tags(&self) -> impl Iterator<Item = String> {
        self.names(|piece, name| piece.whole && !piece.control && !looks_like_control(name) && is_tag(name))
    }

    fn names(&self, wanted: impl Fn(&Piece, &str) -> bool) -> impl Iterator<Item = String> {
        self.pieces.iter().filter_map(move |piece| {
            let name = std::str::from_utf8(&piece.bytes).ok()?;
            wanted(piece, name).then(|| name.to_owned())
        })
    }

    /// The beginning-of-sequence token, if the file names one.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// Tokens that end a completion, ascending.
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// Entries of the vocabulary.
    pub fn vocabulary(&self) -> usize {
        self.pieces.len()
    }
}

fn build(
    file: &ModelFile,
    tokens: &[String],
    merges: &[String],
    types: &[i64],
    pre: &str,
) -> Result<tokenizers::Tokenizer, ModelError> {
    let patterns = split_patterns(pre).ok_or_else(|| {
        let supported = PRE_TOKENIZERS.map(|(names, _)| names.join(", ")).join(", ");
        let problem = format!("is {pre}, which is not supported; supported are {supported}");
        file.refuse("tokenizer.ggml.pre", &problem)
    })?;
    let vocabulary: Vocab = (0u32..)
        .zip(tokens)
        .map(|(id, token)| (token.clone(), id))
        .collect();
    let mut pairs = Vec::with_capacity(merges.len());
    for merge in merges {
        let pair = merge.split_once(' ').ok_or_else(|| {
            file.refuse(
                "tokenizer.ggml.merges",
                &format!("holds {merge:?}, which is no pair"),
            )
        })?;
        pairs.push((pair.0.to_owned(), pair.1.to_owned()));
    }
    let model = BPE::builder()
        .vocab_and_merges(vocabulary, pairs)
        .ignore_merges(pre == "llama-bpe")
        .build()
        .map_err(|error| file.refuse("tokenizer.ggml.merges", &format!("cannot be used: {error}")))?;
    let mut tokenizer = tokenizers::Tokenizer::new(model);
    let mut steps: Vec<PreTokenizerWrapper> = Vec::new();
    for pattern in patterns {
        let split = Split::new(
            SplitPattern::Regex(pattern),
            SplitDelimiterBehavior::Isolated,
            false,
        )
        .map_err(|error| file.refuse("tokenizer.ggml.pre", &format!("cannot be used: {error}")))?;
        steps.push(split.into());
    }
    steps.push(ByteLevel::new(false, false, false).into());
    tokenizer.with_pre_tokenizer(Some(Sequence::new(steps)));
    let whole = |wanted: i64| {
        tokens
            .iter()
            .zip(types)
            .filter(move |(token, kind)| **kind == wanted && !token.is_empty())
    };
    let added = |special| {
        move |(token, _): (&String, &i64)| AddedToken::from(token.clone(), special).normalized(false)
    };
    tokenizer.add_special_tokens(&whole(CONTROL).map(added(true)).collect::<Vec<_>>());
    tokenizer.add_tokens(&whole(USER_DEFINED).map(added(false)).collect::<Vec<_>>());
    Ok(tokenizer)
}

/// Makes the patterns of a pre-tokenizer.
type Patterns = fn() -> Vec<String>;

/// The pre-tokenizers that are supported, by the names that GGUF gives them, and the patterns that split a text before
/// merging.
const PRE_TOKENIZERS: [(&[&str], Patterns); 4] = [
    (&["default", "gpt-2"], || vec![gpt2()]),
    (&["smollm", "starcoder", "refact", "command-r"], || {
        vec![r"\p{N}".to_owned(), gpt2()]
    }),
    (&["llama-bpe", "llama3", "llama-v3", "smaug-bpe"], || {
        vec![tiktoken(r"\p{N}{1,3}")]
    }),
    (&["qwen2", "deepseek-r1-qwen"], || vec![tiktoken(r"\p{N}")]),
];

fn gpt2() -> String {
    format!(r"{CONTRACTIONS}| ?\p{{L}}+| ?\p{{N}}+| ?[^\s\p{{L}}\p{{N}}]+|\s+(?!\S)|\s+")
}

/// `digits` is how many of them stay together.
fn tiktoken(digits: &str) -> String {
    format!(
        r"{ANY_CASE_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
}

fn split_patterns(pre: &str) -> Option<Vec<String>> {
    let (_, patterns) = PRE_TOKENIZERS.iter().find(|(names, _)| names.contains(&pre))?;
    Some(patterns())
}

/// The bytes behind a vocabulary entry: byte-level names for ordinary tokens, plain text for the others.
fn piece(token: &str, kind: i64) -> Piece {
    let control = kind == CONTROL;
    let whole = control || kind == USER_DEFINED;
    let bytes = if whole {
        token.as_bytes().into()
    } else {
        token.chars().filter_map(byte_of).collect()
    };
    Piece {
        bytes,
        control,
        whole,
    }
}

fn is_tag(name: &str) -> bool {
    name.len() > 2 && name.starts_with(['<', '[']) && name.ends_with(['>', ']'])
}

/// Whether a name is written as those of control tokens are: `<|…|>`, also with the wide bars of `DeepSeek`'s.
fn looks_like_control(name: &str) -> bool {
    let is_within = |open: &str, close: &str| name.starts_with(open) && name.ends_with(close);
    END_NAMES.contains(&name) || is_within("<|", "|>") || is_within("<｜", "｜>")
}

/// GPT-2's printable alphabet of bytes, reversed: printable Latin-1 stands for itself, the other 68 bytes are
/// numbered from U+0100.
fn byte_of(character: char) -> Option<u8> {
    let code = u32::from(character);
    match code {
        0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => u8::try_from(code).ok(),
        0x100..=0x120 => u8::try_from(code - 0x100).ok(),
        0x121..=0x142 => u8::try_from(code - 0x121 + 0x7F).ok(),
        0x143 => Some(0xAD),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_a_pre_tokenizer_has_its_own_patterns() {
        for (names, patterns) in PRE_TOKENIZERS {
            for name in names {
                assert_eq!(split_patterns(name), Some(patterns()), "{name}");
            }
        }
        assert!(split_patterns("gemma").is_none());
    }

    #[test]
    fn names_that_look_like_control_tokens_are_told_from_text() {
        for name in [
            "<|im_end|>",
            "<|user|>",
            "<｜User｜>",
            "<｜end▁of▁sentence｜>",
            "<end_of_turn>",
        ] {
            assert!(looks_like_control(name), "{name}");
        }
        for name in ["<think>", "</tool_call>", "<|", "｜>", "[INST]", "<｜", "|>"] {
            assert!(!looks_like_control(name), "{name}");
        }
        for name in ["<think>", "[INST]", "[|user|]", "<用户>"] {
            assert!(is_tag(name), "{name}");
        }
        for name in ["\n", "    ", "###", "<>", "[", "user"] {
            assert!(!is_tag(name), "{name}");
        }
    }

    #[test]
    fn every_byte_has_one_character() {
        let mut seen: Vec<u8> = ('\u{0}'..='\u{200}').filter_map(byte_of).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..=255).collect::<Vec<u8>>());
    }

    #[test]
    fn a_space_is_the_character_that_vocabularies_show() {
        assert_eq!(byte_of('Ġ'), Some(b' '));
        assert_eq!(byte_of('Ċ'), Some(b'\n'));
    }
}
