//! The admin token: where it comes from, and whether what somebody presents is it.
//!
//! Never logged, never shown. Made with the kernel's randomness at first start if nobody gave one.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::rand::{GetRandomFlags, getrandom};
use subtle::ConstantTimeEq;

use crate::files;
use crate::limits;

/// The variable that holds the token, if set.
pub const ENV: &str = "HOOKWAY_ADMIN_TOKEN";
/// The file in the state folder that is made otherwise.
pub const FILE: &str = "admin.token";

/// Who has it may change what runs.
#[derive(Clone)]
pub struct Token(String);

/// Where a token was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Environment,
    File(PathBuf),
    /// In this file, made just now.
    Made(PathBuf),
}

#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("{whence} holds no token; it must be visible ASCII without spaces")]
    NotAToken { whence: String },
    #[error(
        "the admin token of {whence} has {length} characters; use at least {} random ones, as 'openssl rand -hex 32' makes them",
        limits::TOKEN_CHARACTERS_MIN
    )]
    TooShort { whence: String, length: usize },
    #[error("{} can be read by others (mode {mode:03o}); make it 600 and its token a new one", path.display())]
    Exposed { path: PathBuf, mode: u32 },
    #[error("{}: {error}", path.display())]
    File { path: PathBuf, error: io::Error },
}

impl Token {
    /// `whence` names the source in errors.
    fn new(text: &str, whence: impl FnOnce() -> String) -> Result<Self, TokenError> {
        let text = text.trim();
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TokenError::NotAToken { whence: whence() });
        }
        if text.len() < limits::TOKEN_CHARACTERS_MIN {
            return Err(TokenError::TooShort { whence: whence(), length: text.len() });
        }
        Ok(Self(text.to_owned()))
    }

    #[cfg(test)]
    pub fn of_test(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Takes the same time for every wrong token of the right length.
    pub fn matches(&self, presented: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(presented).into()
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

/// The token from the environment, else from the configured file, else from the state folder, where it is made if
/// there is none yet. Two processes that start at once find the same.
pub fn load(
    environment: Option<&str>,
    token_file: Option<&Path>,
    state_dir: &Path,
) -> Result<(Token, Source), TokenError> {
    match find(environment, token_file, state_dir)? {
        Some(found) => Ok(found),
        None => make(state_dir, state_dir.join(FILE)),
    }
}

/// As [`load`], but for whoever wants to be let in: nothing is made. `None`: nobody gave a token, and none was made.
pub fn find(
    environment: Option<&str>,
    token_file: Option<&Path>,
    state_dir: &Path,
) -> Result<Option<(Token, Source)>, TokenError> {
    if let Some(text) = environment {
        return Ok(Some((Token::new(text, || ENV.to_owned())?, Source::Environment)));
    }
    if let Some(path) = token_file {
        return Ok(Some((read(path)?, Source::File(path.to_owned()))));
    }
    let path = state_dir.join(FILE);
    match fs::metadata(&path) {
        Ok(metadata) => {
            let mode = metadata.permissions().mode() & 0o777;
            if mode & 0o077 != 0 {
                return Err(TokenError::Exposed { path, mode });
            }
            Ok(Some((read(&path)?, Source::File(path))))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(TokenError::File { path, error }),
    }
}

fn read(path: &Path) -> Result<Token, TokenError> {
    let text = files::text(path, limits::NAMED_FILE_BYTES_MAX);
    let text = text.map_err(|error| TokenError::File { path: path.to_owned(), error })?;
    Token::new(&text, || path.display().to_string())
}

fn make(state_dir: &Path, path: PathBuf) -> Result<(Token, Source), TokenError> {
    let written = || {
        DirBuilder::new().recursive(true).mode(0o700).create(state_dir)?;
        place(&path, &random_hex::<32>()?)
    };
    match written() {
        Ok(()) => Ok((read(&path)?, Source::Made(path))),
        // Another process was first: its token counts.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok((read(&path)?, Source::File(path))),
        Err(error) => Err(TokenError::File { path, error }),
    }
}

fn random_hex<const BYTES: usize>() -> io::Result<String> {
    let mut random = [0; BYTES];
    getrandom(&mut random, GetRandomFlags::empty())?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Puts a whole file at `path`, or none; never over another.
fn place(path: &Path, text: &str) -> io::Result<()> {
    // Process ids are no names here: in containers they are all alike.
    let unfinished = path.with_extension(format!("token.{}", random_hex::<8>()?));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    let placed = writeln!(file, "{text}")
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::hard_link(&unfinished, path));
    let removed = fs::remove_file(&unfinished);
    placed.and(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_first_start_makes_a_token_only_its_owner_can_read() {
        let root = tempfile::tempdir().unwrap();
        let state = root.path().join("a/state");
        let (made, source) = load(None, None, &state).unwrap();
        let path = state.join(FILE);
        assert_eq!(source, Source::Made(path.clone()));
        assert_eq!((mode(&path), mode(&state)), (0o600, 0o700));
        assert_eq!(made.expose().len(), 64);

        let (again, source) = load(None, None, &state).unwrap();
        assert_eq!(source, Source::File(path));
        assert!(again.matches(made.expose().as_bytes()));
        assert_eq!(fs::read_dir(&state).unwrap().count(), 1, "nothing else is left there");
    }

    #[test]
    fn whoever_only_looks_for_a_token_makes_none() {
        let root = tempfile::tempdir().unwrap();
        assert!(find(None, None, root.path()).unwrap().is_none());
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_start_that_comes_second_takes_the_token_of_the_first() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join(FILE);
        place(&path, "the-first-of-both").unwrap();
        assert_eq!(place(&path, "second").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        let (token, source) = make(root.path(), path.clone()).unwrap();
        assert_eq!((token.expose(), source), ("the-first-of-both", Source::File(path)));
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1, "nothing else is left there");
    }

    #[test]
    fn the_environment_wins_over_a_file_and_a_file_over_the_state() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("secret");
        fs::write(&file, "a-token-from-a-file\n").unwrap();
        let in_environment = "a-token-from-the-environment";
        let (token, source) = load(Some(in_environment), Some(&file), root.path()).unwrap();
        assert_eq!((token.expose(), source), (in_environment, Source::Environment));
        let (token, source) = load(None, Some(&file), root.path()).unwrap();
        assert_eq!((token.expose(), source), ("a-token-from-a-file", Source::File(file)));
    }

    #[test]
    fn what_is_no_token_is_refused_by_its_source() {
        let root = tempfile::tempdir().unwrap();
        let error =
            |environment, file: Option<&Path>| load(environment, file, root.path()).unwrap_err().to_string();
        assert!(error(Some(" "), None).starts_with("HOOKWAY_ADMIN_TOKEN holds no token"));
        assert!(error(Some("two words"), None).starts_with("HOOKWAY_ADMIN_TOKEN holds no token"));
        assert!(error(None, Some(&root.path().join("none"))).contains("No such file"));
        let pipe = root.path().join("pipe");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(error(None, Some(&pipe)).ends_with("pipe: it is not a file"));
        fs::write(root.path().join(FILE), "secret").unwrap();
        fs::set_permissions(root.path().join(FILE), fs::Permissions::from_mode(0o644)).unwrap();
        let exposed = error(None, None);
        assert!(
            exposed.contains("can be read by others (mode 644)") && !exposed.contains("secret"),
            "{exposed}"
        );
    }

    #[test]
    fn a_token_that_can_be_guessed_is_refused_wherever_it_stands() {
        let root = tempfile::tempdir().unwrap();
        let error =
            |environment, file: Option<&Path>| load(environment, file, root.path()).unwrap_err().to_string();
        let expected = "the admin token of HOOKWAY_ADMIN_TOKEN has 15 characters; use at least 16 random ones, as 'openssl rand -hex 32' makes them";
        assert_eq!(error(Some("0123456789abcde"), None), expected);
        assert!(load(Some("0123456789abcdef"), None, root.path()).is_ok());
        let file = root.path().join("secret");
        fs::write(&file, "hunter2\n").unwrap();
        let told = error(None, Some(&file));
        assert!(told.contains("secret has 7 characters") && !told.contains("hunter2"), "{told}");
        place(&root.path().join(FILE), "short").unwrap();
        assert!(error(None, None).contains("admin.token has 5 characters"));
    }

    #[test]
    fn only_the_whole_token_matches_and_it_is_never_shown() {
        let token = Token::of_test("abc");
        assert!(token.matches(b"abc"));
        for wrong in [&b""[..], b"ab", b"abcd", b"abd"] {
            assert!(!token.matches(wrong));
        }
        assert_eq!(format!("{token:?}"), "Token(…)");
    }
}
