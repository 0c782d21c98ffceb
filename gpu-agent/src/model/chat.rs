//! Chat templates: the Jinja text of `tokenizer.chat_template`, rendered as Hugging Face's tokenizers render it.
//!
//! What people say in a conversation stays text: a control token's name in it is cut in two before the text is
//! tokenised, so that nobody but the template ends a turn or begins one.

mod functions;
mod message;
mod turns;

use minijinja::{Environment, ErrorKind, context};

pub use message::Message;
use turns::Cutter;

use super::tokenizer::{EncodeError, Tokenizer};
use crate::weights::file::{ModelError, ModelFile};

/// Instructions that one rendering may take: templates need a few hundred a message, and a job's input has at most
/// 256 KiB of messages; a template that loops without end stops here.
const RENDER_FUEL: u64 = 10_000_000;
const NAME: &str = "chat";

/// Why a conversation is not rendered.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    /// The template raised an exception with words of its own.
    #[error("the chat template refuses messages: {0}")]
    Raised(String),
    /// The template failed, or raised words that may repeat a message.
    #[error("the chat template refuses messages: {0}")]
    Failed(ErrorKind),
    /// The messages hold every character that could mark a cut.
    #[error(
        "messages hold control tokens, and every character that could keep them apart from the template's"
    )]
    NoMark,
}

/// A rendered conversation: pieces of text that are tokenised one by one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation {
    pieces: Vec<String>,
}

impl Conversation {
    /// The whole text.
    pub fn text(&self) -> String {
        self.pieces.concat()
    }

    /// Its tokens.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn tokens(&self, tokenizer: &Tokenizer) -> Result<Vec<u32>, EncodeError> {
        let mut tokens = Vec::new();
        for piece in &self.pieces {
            tokens.extend(tokenizer.encode(piece)?);
        }
        Ok(tokens)
    }
}

/// A model's chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    source: String,
    cutter: Cutter,
    bos: String,
    eos: String,
}

impl ChatTemplate {
    /// Compiles the template of a file; `None` where the file has none.
    ///
    /// # Errors
    /// The template is no valid Jinja.
    pub fn read(file: &ModelFile, tokenizer: &Tokenizer) -> Result<Option<Self>, ModelError> {
        const KEY: &str = "tokenizer.chat_template";
        let header = file.header();
        let Some(source) = header.text(KEY).map_err(|error| file.wrap(error))? else {
            return Ok(None);
        };
        let named = |id: Option<u32>| id.and_then(|id| tokenizer.name(id)).unwrap_or_default();
        let eos = header
            .u32("tokenizer.ggml.eos_token_id")
            .map_err(|error| file.wrap(error))?;
        Self::compile(
            source,
            tokenizer.control_names(),
            named(tokenizer.bos()),
            named(eos),
        )
        .map(Some)
        .map_err(|error| file.refuse(KEY, &format!("is not a usable template: {error}")))
    }

    fn compile(
        source: &str,
        control: impl IntoIterator<Item = String>,
        bos: String,
        eos: String,
    ) -> Result<Self, minijinja::Error> {
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_fuel(Some(RENDER_FUEL));
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        functions::add(&mut environment);
        environment.add_template_owned(NAME, functions::without_generation_blocks(source))?;
        Ok(Self {
            environment,
            source: source.to_owned(),
            cutter: Cutter::new(control),
            bos,
            eos,
        })
    }

    /// The prompt for the next message of the assistant.
    ///
    /// # Errors
    /// The template refuses the conversation. The words are the template's own, where they are in it as they stand:
    /// others may repeat a message.
    pub fn render(&self, messages: &[Message]) -> Result<Conversation, ChatError> {
        let (messages, mark) = self.cutter.cut(messages).ok_or(ChatError::NoMark)?;
        let rendered = self
            .environment
            .get_template(NAME)
            .and_then(|template| {
                template.render(context! {
                    messages => messages,
                    add_generation_prompt => true,
                    bos_token => self.bos,
                    eos_token => self.eos,
                })
            })
            .map_err(|error| self.refusal(&error))?;
        let pieces = match mark {
            None => vec![rendered],
            Some(mark) => rendered.split(mark).map(str::to_owned).collect(),
        };
        Ok(Conversation { pieces })
    }

    fn refusal(&self, error: &minijinja::Error) -> ChatError {
        match error.detail() {
            Some(words) if functions::is_raised(error) && self.source.contains(words) => {
                ChatError::Raised(words.to_owned())
            }
            _ => ChatError::Failed(error.kind()),
        }
    }
}

#[cfg(test)]
mod tests;
