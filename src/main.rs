//! The executable. What it does is in the library.

use std::process::ExitCode;

use hookway::plugin::launch;

/// A request allocates some dozens of small things and frees them on the same thread.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    // Not for people, so no command of the command line: it must not depend on how that is read.
    if args.next().is_some_and(|command| command == launch::COMMAND) {
        return launch::run(args);
    }
    hookway::cli::run(std::env::args_os())
}
