//! Chat templates: the Jinja text of `tokenizer.chat_template`, rendered as Hugging Face's tokenizers render it.
//!
//! What people say in a conversation stays text: a control token's name in it is cut in two before the text is
//! tokenised, so that nobody but the template ends a turn or begins one.

mod functions;
mod message;
mod methods;
mod shown;
mod turns;

use minijinja::{Environment, Error, ErrorKind, context};

pub use message::Message;
use serde_json::Value;
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
            tokenizer.added_tags(),
            named(tokenizer.bos()),
            named(eos),
        )
        .map(Some)
        .map_err(|error| file.refuse(KEY, &format!("is not a usable template: {error}")))
    }

    /// The names of `control` are cut in every text, and of `tags` those that the template itself writes around what
    /// people say.
    fn compile(
        source: &str,
        control: impl IntoIterator<Item = String>,
        tags: impl IntoIterator<Item = String>,
        bos: String,
        eos: String,
    ) -> Result<Self, Error> {
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_fuel(Some(RENDER_FUEL));
        environment.set_unknown_method_callback(methods::call);
        functions::add(&mut environment);
        environment.add_template_owned(NAME, functions::without_generation_blocks(source))?;
        let mut template = Self {
            environment,
            source: source.to_owned(),
            cutter: Cutter::new([]),
            bos,
            eos,
        };
        let frame = template.frame();
        let frames = tags.into_iter().filter(|name| frame.contains(name.as_str()));
        template.cutter = Cutter::new(control.into_iter().chain(frames));
        Ok(template)
    }

    /// What the template writes around a conversation of which no word is a token's name. Nothing where it takes no
    /// such conversation.
    fn frame(&self) -> String {
        let turns = ["user", "assistant", "user"].map(|role| Message::text(role, "x"));
        let led = [&[Message::text("system", "x")], &turns[..]].concat();
        let write = |messages: &[Message]| self.write(messages, false).unwrap_or_default();
        write(&led) + &write(&turns)
    }

    /// The prompt for the next message of the assistant.
    ///
    /// # Errors
    /// The template refuses the conversation. The words are the template's own, where they are in it as they stand:
    /// others may repeat a message.
    pub fn render(&self, messages: &[Message]) -> Result<Conversation, ChatError> {
        let (messages, mark) = self.cutter.cut(messages).ok_or(ChatError::NoMark)?;
        let rendered = self
            .write(&messages, true)
            .map_err(|error| self.refusal(&error))?;
        let pieces = match mark {
            None => vec![rendered],
            Some(mark) => rendered.split(mark).map(str::to_owned).collect(),
        };
        Ok(Conversation { pieces })
    }

    /// Renders calls in the first form that the template takes. Words that it raises itself are its answer.
    fn write(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, Error> {
        let mut first = None;
        for form in shown::forms(messages, &self.source) {
            let shown = shown::shown(messages, &self.source, form)
                .map_err(|_| Error::new(ErrorKind::BadSerialization, "a message cannot be shown"))?;
            match self.write_shown(&shown, add_generation_prompt) {
                Err(error) if !functions::is_raised(&error) => {
                    first.get_or_insert(error);
                }
                answer => return answer,
            }
        }
        Err(first.unwrap_or_else(|| Error::from(ErrorKind::InvalidOperation)))
    }

    /// Renders with what Hugging Face's `transformers` gives to templates: tools and documents are there, and none.
    fn write_shown(&self, messages: &[Value], add_generation_prompt: bool) -> Result<String, Error> {
        self.environment.get_template(NAME)?.render(context! {
            messages,
            tools => (),
            documents => (),
            add_generation_prompt,
            bos_token => self.bos,
            eos_token => self.eos,
        })
    }

    fn refusal(&self, error: &Error) -> ChatError {
        let is_its_own = |words: &str| self.source.contains(words) || self.unescaped().contains(words);
        match error.detail() {
            Some(words) if functions::is_raised(error) && is_its_own(words) => {
                ChatError::Raised(words.to_owned())
            }
            _ => ChatError::Failed(error.kind()),
        }
    }

    /// The source with the escapes that texts in it have.
    fn unescaped(&self) -> String {
        let escapes = [("\\'", "'"), ("\\\"", "\""), ("\\n", "\n")];
        let replace = |text: String, (escape, meant): (&str, &str)| text.replace(escape, meant);
        escapes.into_iter().fold(self.source.clone(), replace)
    }
}

#[cfg(test)]
mod tests;
