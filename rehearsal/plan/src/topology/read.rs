use super::{
    AsnEntry, Link, NodeOverride, Region, Topology, TopologyError, builtin, builtin_names,
};
use serde::Deserialize;
use serde_saphyr::Spanned;
use std::path::{Path, PathBuf};

/// Larger files are refused before they are parsed.
const MAX_BYTES: usize = 1 << 20;

/// As [`Topology`], but remembers the line of every entry.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    schema: String,
    name: String,
    seed: u64,
    source: String,
    #[serde(default = "super::default_mtu")]
    mtu: u16,
    regions: Vec<Spanned<Region>>,
    #[serde(default)]
    links: Vec<Spanned<Link>>,
    #[serde(default)]
    asn: Vec<Spanned<AsnEntry>>,
    #[serde(default)]
    nodes: Vec<Spanned<NodeOverride>>,
}

/// Lines of the entries of a topology, in their order.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pub(super) regions: Vec<u64>,
    pub(super) links: Vec<u64>,
    pub(super) asn: Vec<u64>,
    pub(super) nodes: Vec<u64>,
}

impl Topology {
    /// Reads a file, or the built-in topology of that name.
    ///
    /// A name without `/` and `.` is first looked up among the built-in ones.
    ///
    /// # Errors
    /// The caller's fault: no such file or name, or its content is no topology.
    pub fn load(name_or_path: &str) -> Result<Self, TopologyError> {
        if let Some(text) = builtin(name_or_path) {
            return Self::parse(text, Path::new(name_or_path));
        }
        let file = PathBuf::from(name_or_path);
        let bytes = std::fs::read(&file).map_err(|source| TopologyError::NotFound {
            name: name_or_path.to_owned(),
            builtin: builtin_names().collect::<Vec<_>>().join(", "),
            source,
        })?;
        let text = String::from_utf8(bytes).map_err(|error| TopologyError::Parse {
            file: file.clone(),
            detail: format!("not UTF-8: {error}"),
        })?;
        Self::parse(&text, &file)
    }

    /// Reads and checks YAML; `file` is only for messages.
    ///
    /// # Errors
    /// The author's fault; names file, line and key.
    pub fn parse(text: &str, file: &Path) -> Result<Self, TopologyError> {
        if text.len() > MAX_BYTES {
            return Err(TopologyError::TooLarge {
                file: file.to_owned(),
                bytes: text.len(),
                limit: MAX_BYTES,
            });
        }
        let document: Document = serde_saphyr::from_str(text).map_err(|error| {
            TopologyError::Parse { file: file.to_owned(), detail: error.to_string() }
        })?;
        let (topology, lines) = document.split();
        topology.validate(&lines).map_err(|(line, fault)| TopologyError::Invalid {
            file: file.to_owned(),
            line,
            fault,
        })?;
        Ok(topology)
    }
}

impl Document {
    fn split(self) -> (Topology, Lines) {
        let (regions, region_lines) = unspan(self.regions);
        let (links, link_lines) = unspan(self.links);
        let (asn, asn_lines) = unspan(self.asn);
        let (nodes, node_lines) = unspan(self.nodes);
        let lines =
            Lines { regions: region_lines, links: link_lines, asn: asn_lines, nodes: node_lines };
        let topology = Topology {
            schema: self.schema,
            name: self.name,
            seed: self.seed,
            source: self.source,
            mtu: self.mtu,
            regions,
            links,
            asn,
            nodes,
        };
        (topology, lines)
    }
}

fn unspan<T>(entries: Vec<Spanned<T>>) -> (Vec<T>, Vec<u64>) {
    entries.into_iter().map(|e| (e.value, e.referenced.line())).unzip()
}
