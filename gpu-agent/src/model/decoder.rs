//! The forward pass of a decoder-only transformer, over any machine's operations.
//!
//! ```text
//! manifest ◀ tensors ◀ load ◀ needs ◀ room ◀ forward ◀ reserve
//!                            ▲ plan         ▲ microbatch
//! ```
//!
//! [`Needs`] says what a model takes before it is loaded, and [`plan`] which device gets which part of it. [`Loaded`]
//! holds the weights; [`Loaded::reserve`] adds working memory and a cache, sized by what is left, and makes a
//! [`Decoder`]. Layers may be spread over several devices: each has a range of them, and hands the residual stream on,
//! one microbatch after the other, so that all devices work at once.
//!
//! Shapes: `T` rows of a batch, `D` width, `Q`/`K` widths of all query/key heads, `F` hidden width, `V` vocabulary.

mod forward;
mod load;
mod manifest;
mod microbatch;
mod needs;
pub mod plan;
mod reserve;
mod room;
mod tensors;

pub use forward::Decoder;
pub use load::Loaded;
pub use needs::{Needs, ShareNeed};
pub use tensors::LoadError;

#[cfg(test)]
mod tests;
