//! Chat templates: the Jinja text of `tokenizer.chat_template`, rendered as Hugging Face's tokenizers render it.

use minijinja::{Environment, Error, ErrorKind, context};
use serde::{Deserialize, Serialize};

use super::tokenizer::Tokenizer;
use crate::weights::file::{ModelError, ModelFile};

/// Instructions that one rendering may take: templates need a few hundred a message, and a job's input has at most
/// 256 KiB of messages; a template that loops without end stops here.
const RENDER_FUEL: u64 = 10_000_000;
const NAME: &str = "chat";

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant` or what else the template knows.
    pub role: String,
    /// Plain text.
    pub content: String,
}

/// A model's chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
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
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_fuel(Some(RENDER_FUEL));
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |message: String| -> Result<String, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        environment
            .add_template_owned(NAME, source.to_owned())
            .map_err(|error| file.refuse(KEY, &format!("is not a usable template: {error}")))?;
        let named = |id: Option<u32>| id.and_then(|id| tokenizer.name(id)).unwrap_or_default();
        let eos = header
            .u32("tokenizer.ggml.eos_token_id")
            .map_err(|error| file.wrap(error))?;
        Ok(Some(Self {
            environment,
            bos: named(tokenizer.bos()),
            eos: named(eos),
        }))
    }

    /// The prompt for the next message of the assistant.
    ///
    /// # Errors
    /// The template refuses the conversation; the message is the template's own.
    pub fn render(&self, messages: &[Message]) -> Result<String, Error> {
        self.environment.get_template(NAME)?.render(context! {
            messages => messages,
            add_generation_prompt => true,
            bos_token => self.bos,
            eos_token => self.eos,
        })
    }
}
