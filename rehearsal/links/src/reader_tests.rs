//! What a measurement file may hold, and how it is refused.

use super::*;

const HEADER: &str = "from,to,p50_us,jitter_us,sent,lost";

fn refused(text: &str) -> String {
    read_text("m", text).expect_err("must be refused").to_string()
}

#[test]
fn csv_and_json_say_the_same() {
    let csv = "\u{feff}to,from,p50_us,jitter_us,lost,sent\r\nb,a,70000,5000,1,3000\r\n\n\"a\",b, 71000 ,0,0,3000\n";
    let json = r#"[{"from":"a","to":"b","p50_us":70000,"jitter_us":5000,"sent":3000,"lost":1},
        {"to":"a","from":"b","p50_us":71000,"jitter_us":0,"sent":3000,"lost":0}]"#;
    let pairs = read_text("m", csv).expect("fine");
    assert_eq!(pairs, read_text("m", json).expect("fine"));
    assert_eq!((pairs[0].name().as_str(), pairs[0].lost), ("a -> b", 1));
    let object = format!(r#"{{"schema":"x","pairs":{json}}}"#)
        .replace(r#","to":"#, r#","p99_us":9,"longest_burst":2,"to":"#);
    let pairs = read_text("m", &object).expect("a measurement may say more");
    assert_eq!(pairs[0].longest_burst, Some(2));
    assert!(read_text("m", HEADER).expect("no pair is a matter of the mapping").is_empty());
}

#[test]
fn csv_errors_name_file_line_and_key() {
    let row = |row: &str| refused(&format!("{HEADER}\n{row}\n"));
    assert_eq!(refused(""), format!("m: empty: expected the header {HEADER}"));
    assert!(refused("a,b,1,1,1000,0").starts_with("m, line 1, key a: unknown column"));
    assert!(refused("from,to,p50_us,sent,lost").starts_with("m, line 1, key jitter_us: missing"));
    assert!(refused("from,to,to").starts_with("m, line 1, key to: given twice"));
    assert_eq!(row("a,b,1,1,1000"), "m, line 2: 5 fields, expected 6");
    assert_eq!(row("a,\"b,1,1,1000,1"), "m, line 2: a quote is not closed");
    assert!(row("a,b,-1,1,1000,0").starts_with("m, line 2, key p50_us: `-1` is not a whole"));
    assert!(row("a,b,+1,1,1000,0").contains("not a whole"));
    assert!(row("a,b,1.5,1,1000,0").contains("key p50_us"));
    assert!(row("a,b,1,60000001,1000,0").contains("key jitter_us: 60000001 is above 60000000"));
    assert!(row("a,b,1,1,99999999999999999999999,0").contains("key sent"));
    assert!(row("a,b,1,1,1000,1001").contains("key lost: 1001 lost of 1000 sent"));
    assert!(row("a,b,0,1,1000,1").contains("key p50_us: a round trip cannot"));
    assert!(row("a,a,1,1,1000,0").contains("key to: a -> a is a pair of a region with itself"));
    assert!(row(" ,a,1,1,1000,0").contains("key from: a region's name"));
    assert!(row("a,b,1,1,1000,0\na,b,1,1,1000,0").contains("line 3, key from: a -> b is given"));
}

#[test]
fn json_errors_name_file_line_and_key() {
    let first = r#"{"from":"a","to":"b","p50_us":1,"jitter_us":1,"sent":1000,"lost":0}"#;
    let with = |from: &str, to: &str| {
        let second = first.replace("\"a\"", "\"c\"").replace(from, to);
        refused(&format!("[\n{first},\n{second}\n]"))
    };
    assert!(with("\"p50_us\":1", "\"p50_us\":-1").starts_with("m, line 3, key p50_us: `-1`"));
    assert!(
        with("\"p50_us\":1", "\"p50_us\":\n1e3").starts_with("m, line 4, key p50_us")
            || with("\"p50_us\":1", "\"p50_us\":\n1e3").starts_with("m, line 3, key p50_us")
    );
    assert!(with("\"p50_us\":1", "\"p50_us\":\"1\"").contains("key p50_us"));
    assert!(with("\"p50_us\":1,", "").starts_with("m, line 3, key p50_us: missing"));
    assert!(with("\"lost\"", "\"lots\"").starts_with("m, line 3, key lots: unknown key"));
    assert!(with("\"lost\"", "\"sent\"").contains("line 3: not a pair: key sent is given twice"));
    assert!(with("\"c\"", "7").starts_with("m, line 3, key from: not a string"));
    assert!(with("\"c\"", "\"a\"").contains("given already on line 2"));
    assert!(refused("[1]").starts_with("m, line 1: not a pair"));
    assert!(refused("{}").contains("without `pairs`"));
    assert!(refused("[").starts_with("m, line 1: not a list"));
    let deep = "[".repeat(100_000);
    assert!(refused(&deep).contains("not a list"));
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = read(Path::new("/nowhere/table.csv")).expect_err("not there").to_string();
    assert!(error.contains("/nowhere/table.csv"), "{error}");
}
