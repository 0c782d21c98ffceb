//! What a process says when it panics: where, and never with what.

use std::panic::Location;

/// The words for a panic at this place. A panic's payload may hold whatever was formatted into it, prompts and answers
/// among it, so that it is not printed: the place names the assertion that failed.
///
/// ```
/// std::panic::set_hook(Box::new(|panic| eprintln!("{}", cocoon_api::panics::words(panic.location()))));
/// ```
pub fn words(location: Option<&Location<'_>>) -> String {
    match location {
        Some(place) => format!(
            "error: code=panic at={}:{}:{}: this is a fault of the program; please report the place",
            place.file(),
            place.line(),
            place.column()
        ),
        None => "error: code=panic: this is a fault of the program".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn a_panic_says_where_and_not_what() {
        let said = Arc::new(Mutex::new(String::new()));
        let heard = Arc::clone(&said);
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            *heard.lock().unwrap() = words(panic.location());
        }));
        let ended = std::thread::spawn(|| panic!("prompt: {}", "canary-7f3a")).join();
        std::panic::set_hook(before);
        assert!(ended.is_err());
        let said = said.lock().unwrap().clone();
        assert!(said.contains("panics.rs:") && !said.contains("canary"), "{said}");
    }
}
