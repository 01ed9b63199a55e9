//! Tensors in files beside the model.

use super::super::*;
use super::builder::Builder;
use std::path::PathBuf;
use tract_onnx::pb::StringStringEntryProto;
use tract_onnx::pb::tensor_proto::DataLocation;

/// A directory of its own with the files of a model, removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new(test: &str) -> Self {
        let name = format!("heq-onnx-{test}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(path.join("inner")).unwrap();
        // Two floats, 1.0 and 2.0, behind four other bytes.
        let bytes = [9, 9, 9, 9, 0, 0, 128, 63, 0, 0, 0, 64];
        std::fs::write(path.join("w.bin"), bytes).unwrap();
        std::fs::write(path.join("inner/w.bin"), bytes).unwrap();
        Self(path)
    }

    fn import(&self, entries: &[(&str, &str)]) -> Result<Graph, Diagnostics> {
        import(&model(entries), "m.onnx", ExternalData::Beside(&self.0))
    }

    fn refuse(&self, entries: &[(&str, &str)], phrase: &str) {
        let found = self.import(entries).unwrap_err().to_string();
        assert!(found.contains("initializer \"w\"") && found.contains(phrase), "{phrase}: {found}");
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A model whose weights, two floats, are in another file.
fn model(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut model =
        Builder::fixed(&[1, 2]).floats("w", &[2, 1], &[]).node("MatMul", &["x", "w"], "y");
    let proto = &mut model.graph.initializer[0];
    proto.data_location = Some(DataLocation::External as i32);
    proto.external_data = entries
        .iter()
        .map(|&(key, value)| StringStringEntryProto { key: key.into(), value: value.into() })
        .collect();
    model.bytes()
}

#[test]
fn elements_are_read() {
    let directory = Directory::new("read");
    let location = ("location", "w.bin");
    for entries in [
        &[location, ("offset", "4"), ("length", "8"), ("checksum", "x")][..],
        &[location, ("offset", "4")],
    ] {
        let graph = directory.import(entries).unwrap_or_else(|error| panic!("{error}"));
        let text = heq_ir::graph::text::text(&graph);
        assert!(text.contains("values=[1.0,2.0]"), "{text}");
    }
}

#[test]
fn lengths_are_checked() {
    let directory = Directory::new("lengths");
    let location = ("location", "w.bin");
    for (entries, phrase) in [
        (&[location][..], "has 12"),
        (&[location, ("offset", "8"), ("length", "8")], "has 12"),
        (&[location, ("offset", "18446744073709551615"), ("length", "8")], "has 12"),
        (&[location, ("offset", "4"), ("length", "4")], "not the 8 bytes"),
        (&[location, ("offset", "-4")], "no byte count"),
        (&[location, location], "twice"),
        (&[], "in which file"),
    ] {
        directory.refuse(entries, phrase);
    }
}

#[test]
fn only_plain_files_beside_the_model_are_read() {
    let directory = Directory::new("names");
    let absolute = directory.0.join("w.bin");
    for name in [
        "inner/w.bin",
        "./w.bin",
        "../w.bin",
        "..",
        ".",
        "",
        "inner\\w.bin",
        "c:w.bin",
        "w.bin/",
        "w.bin\0",
        absolute.to_str().unwrap(),
    ] {
        directory.refuse(&[("location", name), ("offset", "4")], "not a plain file name");
    }
    directory.refuse(&[("location", "none.bin")], "cannot be read");
    directory.refuse(&[("location", "inner")], "not a regular file");
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&absolute, directory.0.join("link.bin")).unwrap();
        directory.refuse(&[("location", "link.bin"), ("offset", "4")], "a link");
    }
}

#[test]
fn without_a_directory_nothing_is_read() {
    let found = import(&model(&[("location", "w.bin")]), "m.onnx", ExternalData::None);
    let found = found.unwrap_err().to_string();
    assert!(found.contains("in another file"), "{found}");
}
