//! What a process leaves behind when it ends badly: the place of the fault, and nothing of what it held.

use std::{io, panic::Location};

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// The first thing that a program does which holds prompts, answers or keys: from here on a panic is told by its place
/// alone, and the kernel writes no core dump.
///
/// # Errors
/// Where the kernel refuses; the program must not go on.
pub fn leave_nothing_private() -> io::Result<()> {
    std::panic::set_hook(Box::new(|panic| eprintln!("{}", words(panic.location()))));
    refuse_dumps()
}

/// Has the kernel write no core dump of this process: all of its memory would be in it. Programs that it starts inherit
/// the limit alone.
///
/// A dump that is piped to a program (core(5)) ignores the limit, so that the process is made undumpable as well. That
/// also keeps debuggers without root away, and hands its files in `/proc` to root.
///
/// # Errors
/// Where the kernel refuses; the program must not go on.
pub fn refuse_dumps() -> io::Result<()> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let refused = |error: rustix::io::Errno| {
        let source = io::Error::from(error);
        io::Error::new(
            source.kind(),
            format!("could not switch core dumps off: {source}"),
        )
    };
    setrlimit(Resource::Core, none).map_err(refused)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(refused)
}

/// The words for a panic at this place. A panic's payload may hold whatever was formatted into it, prompts and answers
/// among it, so that it is not printed: the place names the assertion that failed.
fn words(location: Option<&Location<'_>>) -> String {
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

    use rustix::process::{dumpable_behavior, getrlimit};

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
        assert!(said.contains("crash.rs:") && !said.contains("canary"), "{said}");
    }

    #[test]
    fn neither_a_file_nor_a_program_gets_the_memory() {
        refuse_dumps().unwrap();
        let limit = getrlimit(Resource::Core);
        assert_eq!((limit.current, limit.maximum), (Some(0), Some(0)));
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
    }
}
