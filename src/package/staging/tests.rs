//! Installing from folders of every kind, and what a crash between two steps leaves.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::{STAGING, StageError, installed, named, remove, stage, sweep};
use crate::limits;
use crate::package::{MANIFEST_FILE, load, scan};

/// A folder to take plugins from, and one to install them in.
struct Scene {
    _folder: tempfile::TempDir,
    source: PathBuf,
    plugins: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir(root.join("source")).unwrap();
        Self { source: root.join("source"), plugins: root.join("state/plugins"), _folder: folder }
    }

    /// A plugin below the source folder.
    fn plugin(&self, folder: &str, name: &str, version: &str) -> PathBuf {
        let dir = self.source.join(folder);
        fs::create_dir_all(dir.join("lib")).unwrap();
        let manifest = format!(r#"{{ "name": "{name}", "version": "{version}", "main": "main.py" }}"#);
        fs::write(dir.join(MANIFEST_FILE), manifest).unwrap();
        fs::write(dir.join("main.py"), version).unwrap();
        fs::write(dir.join("lib/part.py"), "").unwrap();
        dir
    }

    fn refused(&self, source: &Path) -> String {
        let refused = stage(source, &self.plugins).unwrap_err();
        assert!(matches!(refused, StageError::Invalid(_)), "{refused}");
        assert_eq!(self.installed(), [""; 0]);
        assert_eq!(self.staged(), 0);
        refused.to_string().replace(&format!("{}/", self.source.display()), "")
    }

    fn installed(&self) -> Vec<String> {
        let found = scan(std::slice::from_ref(&self.plugins));
        found.iter().map(|found| found.dir.file_name().unwrap().to_str().unwrap().to_owned()).collect()
    }

    fn staged(&self) -> usize {
        fs::read_dir(self.plugins.join(STAGING)).map_or(0, Iterator::count)
    }
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o7777
}

#[test]
fn an_installed_plugin_is_a_copy_named_by_what_it_is() {
    let scene = Scene::new();
    let source = scene.plugin("tag", "tag", "1.2.0");
    symlink("lib/part.py", source.join("link")).unwrap();
    fs::create_dir(source.join(".git")).unwrap();
    fs::write(source.join(".git/HEAD"), "").unwrap();
    let mut staged = stage(&source, &scene.plugins).unwrap();
    assert_eq!((staged.len(), scene.staged(), scene.installed().len()), (1, 1, 0));
    let package = staged.remove(0).commit().unwrap();
    let digest = load(&source).unwrap().digest;
    assert_eq!(package.digest, digest);
    assert_eq!(scene.installed(), [format!("tag@1.2.0-{}", &digest.to_string()[..8])]);
    assert_eq!(package.dir, scene.plugins.join(&scene.installed()[0]));
    assert_eq!(load(&package.dir).unwrap().digest, digest);
    assert_eq!(fs::read_link(package.dir.join("link")).unwrap(), Path::new("lib/part.py"));
    assert!(!package.dir.join(".git").exists());
    assert_eq!(scene.staged(), 0);
}

#[test]
fn a_program_stays_one_and_a_dangerous_mode_does_not() {
    let scene = Scene::new();
    let source = scene.plugin("tag", "tag", "1.0.0");
    for (file, mode) in [("tool", 0o6777), ("private", 0o600), ("lib/open", 0o666)] {
        fs::write(source.join(file), "").unwrap();
        fs::set_permissions(source.join(file), fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::set_permissions(source.join("lib"), fs::Permissions::from_mode(0o2777)).unwrap();
    let package = stage(&source, &scene.plugins).unwrap().remove(0).commit().unwrap();
    let modes = ["tool", "private", "lib/open", "lib"].map(|file| mode(&package.dir.join(file)));
    assert_eq!(modes, [0o755, 0o600, 0o644, 0o755]);
}

#[test]
fn a_folder_of_several_plugins_is_installed_whole_or_not_at_all() {
    let scene = Scene::new();
    scene.plugin("a", "a", "1.0.0");
    scene.plugin("b", "b", "1.0.0");
    fs::create_dir(scene.source.join("docs")).unwrap();
    let staged = stage(&scene.source, &scene.plugins).unwrap();
    let names: Vec<_> = staged.iter().map(|staged| staged.package().manifest.name.clone()).collect();
    assert_eq!(names, ["a", "b"]);
    drop(staged);
    assert_eq!((scene.installed().len(), scene.staged()), (0, 0));

    scene.plugin("c", "a", "2.0.0");
    fs::remove_file(scene.source.join("b/main.py")).unwrap();
    let told = scene.refused(&scene.source);
    assert_eq!(
        told,
        "b/plugin.json:1:44: main \"main.py\" is not in the folder; put it there, or write the path of a file that is\n\
         c: is a plugin named \"a\", and another folder here is too; name them apart"
    );
}

#[test]
fn what_is_no_folder_of_plugins_is_refused() {
    let scene = Scene::new();
    let source = scene.plugin("tag", "tag", "1.0.0");
    let told = |source: &Path| scene.refused(source);
    assert!(told(&scene.source.join("gone")).starts_with("gone: cannot be read: "));
    assert_eq!(told(&source.join("main.py")), "tag/main.py: is a file; give the folder of a plugin");
    assert!(told(&source.join("lib")).starts_with("tag/lib: holds no plugin: "));
    let inside = scene.plugins.join("by-hand");
    fs::create_dir_all(&inside).unwrap();
    assert!(told(&inside).contains("are in one another"));
    assert!(told(&scene.plugins).contains("are in one another"));
    assert!(told(scene.plugins.parent().unwrap()).contains("are in one another"));
    let several = scene.source.join("several");
    fs::create_dir(&several).unwrap();
    symlink(&source, several.join("link")).unwrap();
    assert!(told(&several).contains("holds a link that leaves it"));
}

#[test]
fn a_link_to_a_plugin_is_that_plugin() {
    let scene = Scene::new();
    symlink(scene.plugin("tag", "tag", "1.0.0"), scene.source.join("link")).unwrap();
    let package = stage(&scene.source.join("link"), &scene.plugins).unwrap().remove(0).commit().unwrap();
    assert!(package.dir.symlink_metadata().unwrap().is_dir());
}

#[test]
fn a_plugin_with_tricks_in_its_folder_is_refused_whole() {
    let scene = Scene::new();
    let source = scene.plugin("tag", "tag", "1.0.0");
    symlink("/etc/passwd", source.join("lib/passwd")).unwrap();
    let manifest = r#"{ "name": "tag", "version": "1.0.0", "main": "/bin/sh" }"#;
    fs::write(source.join(MANIFEST_FILE), manifest).unwrap();
    assert!(scene.refused(&source).starts_with("tag: \"lib/passwd\" is a link that leaves the folder"));
    fs::remove_file(source.join("lib/passwd")).unwrap();
    assert!(scene.refused(&source).starts_with("tag/plugin.json:1:46: main \"/bin/sh\" is absolute"));
    File::create(source.join(MANIFEST_FILE)).unwrap().set_len(100 << 20).unwrap();
    let too_large = format!("larger than {} bytes", limits::MANIFEST_BYTES_MAX);
    assert!(scene.refused(&source).ends_with(&too_large));
    fs::remove_file(source.join(MANIFEST_FILE)).unwrap();
    symlink("/etc/passwd", source.join(MANIFEST_FILE)).unwrap();
    assert!(!scene.refused(&source).contains("not JSON"));
}

#[test]
fn installing_again_changes_nothing_and_mends_what_somebody_changed() {
    let scene = Scene::new();
    let source = scene.plugin("tag", "tag", "1.0.0");
    let install = || stage(&source, &scene.plugins).unwrap().remove(0).commit().unwrap();
    let first = install();
    let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&path.metadata().unwrap());
    let before = inode(&first.dir);
    assert_eq!(install().dir, first.dir);
    assert_eq!(inode(&first.dir), before);
    fs::write(first.dir.join("main.py"), "changed").unwrap();
    assert_eq!(install().dir, first.dir);
    assert_eq!(load(&first.dir).unwrap().digest, first.digest);
    assert_eq!((scene.installed().len(), scene.staged()), (1, 0));
}

#[test]
fn after_a_crash_a_sweep_removes_the_half_copy_and_nothing_that_was_put_in_place() {
    let scene = Scene::new();
    let install = |version| {
        let source = scene.plugin("tag", "tag", version);
        stage(&source, &scene.plugins).unwrap().remove(0).commit().unwrap().dir
    };
    let mut placed = vec![install("1.0.0"), install("2.0.0")];
    let by_hand = scene.plugins.join("by-hand");
    fs::rename(scene.plugin("by-hand", "by-hand", "1.0.0"), &by_hand).unwrap();
    symlink(&placed[0], scene.plugins.join("tag@3.0.0-01234567")).unwrap();
    // A crash while another was being copied: nothing removed its copy.
    std::mem::forget(stage(&scene.plugin("tag", "tag", "3.0.0"), &scene.plugins).unwrap());
    assert_eq!(scene.staged(), 1);
    sweep(&scene.plugins).unwrap();
    assert_eq!(scene.staged(), 0);
    let mut found = installed(&scene.plugins).unwrap();
    found.sort();
    placed.sort();
    assert_eq!(found, placed, "what people put there was not installed");
    assert_eq!(named(&placed[0]), Some(("tag", "1.0.0")));
    sweep(&scene.source.join("gone")).unwrap();
    assert_eq!(installed(&scene.source.join("gone")).unwrap(), [""; 0].map(PathBuf::from));
}

#[test]
fn only_a_folder_of_the_installed_plugins_is_removed() {
    let scene = Scene::new();
    let source = scene.plugin("tag", "tag", "1.0.0");
    let package = stage(&source, &scene.plugins).unwrap().remove(0).commit().unwrap();
    for elsewhere in [&source, &package.dir.join("lib"), &scene.plugins, &package.dir.join("../../..")] {
        assert!(remove(&scene.plugins, elsewhere).is_err());
    }
    assert!(load(&package.dir).is_ok() && load(&source).is_ok());
    remove(&scene.plugins, &package.dir).unwrap();
    remove(&scene.plugins, &package.dir).unwrap();
    assert_eq!((scene.installed().len(), scene.staged()), (0, 0));
}

#[test]
fn a_folder_that_cannot_be_written_is_the_gateways_fault() {
    let scene = Scene::new();
    let source = scene.plugin("tag", "tag", "1.0.0");
    fs::write(scene.plugins.parent().unwrap().with_file_name("file"), "").unwrap();
    let plugins = scene.plugins.parent().unwrap().with_file_name("file").join("plugins");
    assert!(matches!(stage(&source, &plugins), Err(StageError::Failed { .. })));
}
