//! Structured logs on standard error: our own lines, and nobody else's.
//!
//! Libraries know nothing of what is private. The Kubernetes client logs every answer that it cannot read, Secrets
//! among them. So lines of other crates are not written, whatever `RUST_LOG` says.

use tracing::Metadata;
use tracing_subscriber::{
    EnvFilter, Layer, filter::filter_fn, fmt, fmt::MakeWriter, layer::SubscriberExt as _,
    registry::LookupSpan, util::SubscriberInitExt as _,
};

/// Starts logging; `RUST_LOG` filters, `info` otherwise.
pub fn start(json: bool) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::registry()
        .with(filter)
        .with(lines(json, std::io::stderr))
        .init();
}

/// Writes our own lines.
fn lines<S, W>(json: bool, writer: W) -> impl Layer<S>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = fmt::layer().with_writer(writer);
    let layer = if json { layer.json().boxed() } else { layer.boxed() };
    layer.with_filter(filter_fn(is_own))
}

fn is_own(line: &Metadata<'_>) -> bool {
    line.target().starts_with("cocoon_")
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_of_other_crates_are_not_written() {
        for json in [false, true] {
            let written = Written::default();
            let writer = written.clone();
            let subscriber = tracing_subscriber::registry()
                .with(EnvFilter::new("trace"))
                .with(lines(json, move || writer.clone()));
            tracing::subscriber::with_default(subscriber, || {
                tracing::warn!(target: "kube_client::client", "{}", "canary-7f3a of a Secret");
                tracing::error!(target: "hyper", "{}", "canary-7f3a of a body");
                tracing::info!(job = "j", "dispatched");
            });
            let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
            assert!(text.contains("dispatched") && !text.contains("canary"), "{text}");
        }
    }
}
