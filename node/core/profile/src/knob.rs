//! What text a knob accepts and what value it shows.

use alloc::{
    string::{String, ToString},
    vec::Vec,
};
use core::{fmt, net::SocketAddr, str::FromStr};
use qbind_types::{Address, GenesisHash, Network};

/// The kind of a knob's value in a TOML file or in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `true` or `false`.
    Bool,
    /// A whole number, not negative.
    Integer,
    /// A string.
    Text,
    /// A list; as one text, separated by commas.
    List,
}

/// A knob's value, ready for JSON or TOML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Not set.
    Unset,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(u64),
    /// A string.
    Text(String),
    /// A list of integers or strings.
    List(Vec<Value>),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unset => f.write_str("unset"),
            Self::Bool(value) => value.fmt(f),
            Self::Integer(value) => value.fmt(f),
            Self::Text(value) => f.write_str(value),
            Self::List(values) => {
                f.write_str("[")?;
                for (i, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if i == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
        }
    }
}

/// One knob: its name in files, its one-line description, what it accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// Name in `node.toml`; the flag is `--` and this with dashes, the variable `QBIND_` and this
    /// in capitals.
    pub name: &'static str,
    /// What it does.
    pub help: &'static str,
    /// The kind of its value.
    pub shape: Shape,
    /// What text it accepts.
    pub expects: &'static str,
}

/// A type of knob.
pub(crate) trait Knob: Sized {
    const SHAPE: Shape;
    const EXPECTS: &'static str;
    fn parse(text: &str) -> Option<Self>;
    fn show(&self) -> Value;
}

impl Knob for bool {
    const SHAPE: Shape = Shape::Bool;
    const EXPECTS: &'static str = "true | false";
    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
    fn show(&self) -> Value {
        Value::Bool(*self)
    }
}

impl Knob for u64 {
    const SHAPE: Shape = Shape::Integer;
    const EXPECTS: &'static str = "a whole number";
    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
    fn show(&self) -> Value {
        Value::Integer(*self)
    }
}

impl Knob for String {
    const SHAPE: Shape = Shape::Text;
    const EXPECTS: &'static str = "text";
    fn parse(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| text.to_string())
    }
    fn show(&self) -> Value {
        Value::Text(self.clone())
    }
}

macro_rules! text_knob {
    ($($name:ty: $expects:literal),+ $(,)?) => {$(
        impl Knob for $name {
            const SHAPE: Shape = Shape::Text;
            const EXPECTS: &'static str = $expects;
            fn parse(text: &str) -> Option<Self> {
                text.parse().ok()
            }
            fn show(&self) -> Value {
                Value::Text(self.to_string())
            }
        }
    )+};
}

text_knob! {
    SocketAddr: "an address and port such as 0.0.0.0:9000 or [::]:9000",
    HostPort: "a host and port such as node1.example.org:9000",
    GenesisHash: "0x and 64 hexadecimal digits",
    Address: "0x and 64 hexadecimal digits",
}

impl Knob for Network {
    const SHAPE: Shape = Shape::Text;
    const EXPECTS: &'static str = "devnet | testnet | mainnet";
    fn parse(text: &str) -> Option<Self> {
        text.to_ascii_lowercase().parse().ok()
    }
    fn show(&self) -> Value {
        Value::Text(self.to_string())
    }
}

impl<T: Knob> Knob for Option<T> {
    const SHAPE: Shape = T::SHAPE;
    const EXPECTS: &'static str = T::EXPECTS;
    fn parse(text: &str) -> Option<Self> {
        T::parse(text).map(Some)
    }
    fn show(&self) -> Value {
        self.as_ref().map_or(Value::Unset, T::show)
    }
}

impl<T: Knob> Knob for Vec<T> {
    const SHAPE: Shape = Shape::List;
    const EXPECTS: &'static str = T::EXPECTS;
    fn parse(text: &str) -> Option<Self> {
        if text.trim().is_empty() {
            return Some(Self::new());
        }
        text.split(',').map(|part| T::parse(part.trim())).collect()
    }
    fn show(&self) -> Value {
        Value::List(self.iter().map(T::show).collect())
    }
}

/// A host name or IP address, and a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// Name or address, IPv6 without brackets.
    pub host: String,
    /// Port, not 0.
    pub port: u16,
}

/// The text is no host and port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostPortError;

impl fmt::Display for HostPortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}", HostPort::EXPECTS)
    }
}

impl core::error::Error for HostPortError {}

impl FromStr for HostPort {
    type Err = HostPortError;
    fn from_str(text: &str) -> Result<Self, HostPortError> {
        let (host, port) = text.rsplit_once(':').ok_or(HostPortError)?;
        let port: u16 = port.parse().map_err(|_| HostPortError)?;
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let valid = match bare {
            Some(v6) => v6.parse::<core::net::Ipv6Addr>().is_ok(),
            None => {
                // RFC 1123 names: letters, digits, hyphens, dots; at most 253 characters.
                let name = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
                (1..=253).contains(&host.len()) && host.bytes().all(name)
            }
        };
        if !valid || port == 0 {
            return Err(HostPortError);
        }
        Ok(Self { host: bare.unwrap_or(host).to_string(), port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}
