//! Answers `swin-oracle check -- ./mine` from Rust, with std alone.  docs/protocol.md is the protocol.
//!
//!     fn main() { serve(&[("precision", "float32"), ("offers", "mlp")], |words, arrays| answer(words, arrays)) }
//!
//! The function takes a request's words and arrays and returns the reply's arrays, or `No::Declined` for what is out
//! of scope, or `No::Failed` for an error.  Arrays hold f64, exact whatever type was sent.
use std::collections::BTreeMap;
use std::io::{stdin, stdout, Read, Write};

pub struct Array { pub shape: Vec<usize>, pub data: Vec<f64> }
pub type Words = BTreeMap<String, String>;
pub type Arrays = BTreeMap<String, Array>;
pub enum No { Declined(String), Failed(String) }

struct Reader<'a>(&'a [u8]); // of the header, which the suite writes in one canonical way

impl Reader<'_> {
    fn skip(&mut self, text: &str) {
        self.0 = self.0.strip_prefix(text.as_bytes()).expect("the header is canonical");
    }
    fn text(&mut self) -> String { // \u is for what no name and no number has
        self.skip("\"");
        let (mut found, mut at) = (String::new(), 0);
        while self.0[at] != b'"' {
            at += (self.0[at] == b'\\') as usize;
            found.push(self.0[at] as char);
            at += 1;
        }
        self.0 = &self.0[at + 1..];
        found
    }
    fn numbers(&mut self) -> Vec<usize> {
        let end = self.0.iter().position(|&byte| byte == b']').expect("a list ends");
        let inside = std::str::from_utf8(&self.0[1..end]).expect("ASCII");
        let found = inside.split(',').filter(|word| !word.is_empty()).map(|word| word.parse().expect("a count")).collect();
        self.0 = &self.0[end + 1..];
        found
    }
}

fn parse(image: &[u8]) -> (Words, Arrays) {
    let length = u64::from_le_bytes(image[..8].try_into().unwrap()) as usize;
    let (mut reader, body) = (Reader(&image[8..8 + length]), &image[8 + length..]);
    let (mut words, mut arrays) = (Words::new(), Arrays::new());
    reader.skip("{\"__metadata__\":{");
    while reader.0[0] != b'}' {
        let name = reader.text();
        reader.skip(":");
        words.insert(name, reader.text());
        if reader.0[0] == b',' { reader.skip(","); }
    }
    reader.skip("}");
    while reader.0[0] == b',' {
        reader.skip(",");
        let name = reader.text();
        reader.skip(":{\"data_offsets\":");
        let offsets = reader.numbers();
        reader.skip(",\"dtype\":");
        let (wide, bytes) = (reader.text() == "F64", &body[offsets[0]..offsets[1]]);
        reader.skip(",\"shape\":");
        let data = if wide { bytes.chunks(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect() }
                   else { bytes.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()) as f64).collect() };
        arrays.insert(name, Array { shape: reader.numbers(), data });
        reader.skip("}");
    }
    (words, arrays)
}

fn reply(words: &[(&str, &str)], arrays: &Arrays) {
    let words: Vec<String> = words.iter().map(|(name, word)| format!("{name:?}:\"{}\"", word.replace(['"', '\\', '\n'], " "))).collect();
    let (mut header, mut body) = (format!("{{\"__metadata__\":{{{}}}", words.join(",")), Vec::new());
    for (name, array) in arrays {
        let start = body.len();
        array.data.iter().for_each(|number| body.extend(number.to_le_bytes()));
        header += &format!(",{name:?}:{{\"data_offsets\":[{start},{}],\"dtype\":\"F64\",\"shape\":{:?}}}", body.len(), array.shape);
    }
    header += "}";
    let lengths = [8 + header.len() + body.len(), header.len()].map(|number| (number as u64).to_le_bytes());
    stdout().write_all(&[&lengths.concat(), header.as_bytes(), &body].concat()).and_then(|()| stdout().flush()).expect("a reader");
}

pub fn serve(about: &[(&str, &str)], answer: impl Fn(&Words, &Arrays) -> Result<Arrays, No>) {
    let mut length = [0; 8];
    while stdin().read_exact(&mut length).is_ok() {
        let mut image = vec![0; u64::from_le_bytes(length) as usize];
        stdin().read_exact(&mut image).expect("a whole request");
        let (words, arrays) = parse(&image);
        match words["cmd"].as_str() {
            "stop" => return,
            "start" => reply(&[&[("protocol", "1"), ("language", "rust")], about].concat(), &Arrays::new()),
            _ => match answer(&words, &arrays) {
                Ok(arrays) => reply(&[("ok", "1")], &arrays),
                Err(No::Declined(reason)) => reply(&[("declined", &reason)], &Arrays::new()),
                Err(No::Failed(reason)) => reply(&[("error", &reason)], &Arrays::new()),
            },
        }
    }
}
