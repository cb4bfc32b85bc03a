/// Name and YAML of each topology that comes with the program.
const SHIPPED: [(&str, &str); 8] = [
    ("standard-tri-region", include_str!("../../../../topologies/standard-tri-region.yaml")),
    ("us-centric", include_str!("../../../../topologies/us-centric.yaml")),
    ("global-spread", include_str!("../../../../topologies/global-spread.yaml")),
    ("uniform", include_str!("../../../../topologies/uniform.yaml")),
    ("asymmetric", include_str!("../../../../topologies/asymmetric.yaml")),
    ("high-jitter", include_str!("../../../../topologies/high-jitter.yaml")),
    ("lossy", include_str!("../../../../topologies/lossy.yaml")),
    ("mixed", include_str!("../../../../topologies/mixed.yaml")),
];

/// The YAML of a built-in topology.
pub fn builtin(name: &str) -> Option<&'static str> {
    SHIPPED.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// Names of the built-in topologies.
pub fn builtin_names() -> impl Iterator<Item = &'static str> {
    SHIPPED.iter().map(|(name, _)| *name)
}
