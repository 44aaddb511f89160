//! Reading files that people name. Only a regular file is read: opening a pipe would wait for its other end, and with it
//! whatever wanted the file.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// Opens a regular file. Anything else is an error of the kind [`io::ErrorKind::InvalidInput`], and never waited for.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let file = File::options().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file"));
    }
    Ok(file)
}

/// The bytes of a regular file of at most `max` bytes. A larger one is an error, even if it grew meanwhile.
pub(crate) fn bytes(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        return Err(io::Error::other(format!("larger than {max} bytes")));
    }
    Ok(bytes)
}

/// The same, of a file in UTF-8.
pub(crate) fn text(path: &Path, max: u64) -> io::Result<String> {
    String::from_utf8(bytes(path, max)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "stream did not contain valid UTF-8"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn only_a_file_is_read_and_a_pipe_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        mknodat(CWD, at("pipe"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        fs::write(at("file"), "four").unwrap();
        for wrong in [at("pipe"), folder.path().to_owned(), "/dev/null".into()] {
            let error = text(&wrong, 10).unwrap_err();
            assert_eq!(
                (error.kind(), error.to_string().as_str()),
                (io::ErrorKind::InvalidInput, "it is not a file")
            );
        }
        assert_eq!(text(&at("file"), 4).unwrap(), "four");
        assert_eq!(text(&at("file"), 3).unwrap_err().to_string(), "larger than 3 bytes");
        assert_eq!(text(&at("gone"), 3).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
