//! `integrity`: the sum of the entry file, as OmniRoute's manifests may state it. One that is stated has to be right.

use std::io::{self, Read};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::Program;
use crate::document::{Section, parsed};
use crate::files;
use crate::limits;

const KEY: &str = "integrity";
const KIND: &str = "sha256-";

/// Reads the key, and if it is there the entry file too.
pub(super) fn read(root: &mut Section<'_, '_>, dir: &Path, program: Option<&Program>) {
    let stated = root.get(KEY, parsed(sum));
    let (Some(stated), Some(program)) = (stated, program) else { return };
    let Some(main) = program.main() else {
        root.problem(KEY, "integrity is of main, and a command has none; leave it out");
        return;
    };
    match sum_of(&dir.join(main)) {
        Ok(sum) if sum == stated => {}
        Ok(sum) => {
            let text = format!("integrity is not that of {main:?}, which is {sum:?}; was the file changed?");
            root.problem(KEY, text);
        }
        Err(error) => root.problem("main", format!("main {main:?} cannot be read: {error}")),
    }
}

/// Takes the key of [`read`] as it is.
pub(super) fn skip(root: &mut Section<'_, '_>) {
    root.node(KEY);
}

/// In the alphabet with `+` and `/`, whichever was written.
fn sum(text: &str) -> Result<String, String> {
    let plain = text.strip_prefix(KIND).map(|sum| sum.replace('-', "+").replace('_', "/"));
    let is_sum = |sum: &String| STANDARD.decode(sum).is_ok_and(|bytes| bytes.len() == 32);
    match plain.filter(is_sum) {
        Some(sum) => Ok(format!("{KIND}{sum}")),
        None => Err(format!("is no sum; write {KIND} and the SHA-256 of the main file in base64")),
    }
}

fn sum_of(path: &Path) -> io::Result<String> {
    let mut file = files::open(path)?.take(limits::PACKAGE_FILE_BYTES_MAX);
    let mut sum = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(format!("{KIND}{}", STANDARD.encode(sum.finalize()))),
            read => sum.update(&buffer[..read]),
        }
    }
}
