//! YAML as a tree whose nodes know their lines and keep their order.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::Spanned;

/// A node and where it is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Item {
    /// What it is.
    pub(crate) node: Node,
    /// Its line within its document, from 1.
    pub(crate) line: usize,
}

/// A node.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    /// Text, number, boolean or null.
    Scalar(Value),
    /// A list.
    List(Vec<Item>),
    /// Fields in the order in which they are written.
    Map(Vec<(Key, Item)>),
}

/// The name of a field and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    /// The name.
    pub(crate) name: String,
    /// Its line within its document, from 1.
    pub(crate) line: usize,
}

impl Item {
    /// The tree without places.
    #[must_use]
    pub(crate) fn value(&self) -> Value {
        match &self.node {
            Node::Scalar(value) => value.clone(),
            Node::List(items) => items.iter().map(Item::value).collect(),
            Node::Map(fields) => Value::Object(
                fields.iter().map(|(key, item)| (key.name.clone(), item.value())).collect::<Map<_, _>>(),
            ),
        }
    }

    /// A field.
    #[must_use]
    pub(crate) fn get(&self, name: &str) -> Option<&Item> {
        let Node::Map(fields) = &self.node else { return None };
        fields.iter().find(|(key, _)| key.name == name).map(|(_, item)| item)
    }

    /// The text of a field; empty if it is missing.
    #[must_use]
    pub(crate) fn text(&self, name: &str) -> &str {
        match self.get(name).map(|item| &item.node) {
            Some(Node::Scalar(Value::String(text))) => text,
            _ => "",
        }
    }

    /// The line of what a JSON pointer points at; of the nearest node around it if there is nothing.
    #[must_use]
    pub(crate) fn line_of(&self, pointer: &str) -> usize {
        let (mut here, mut line) = (self, self.line);
        for step in pointer.split('/').skip(1) {
            let step = step.replace("~1", "/").replace("~0", "~");
            let next = match &here.node {
                Node::Map(fields) => {
                    fields.iter().find(|(key, _)| key.name == step).map(|(key, item)| (key.line, item))
                }
                Node::List(items) => {
                    step.parse().ok().and_then(|index: usize| items.get(index)).map(|item| (item.line, item))
                }
                Node::Scalar(_) => None,
            };
            let Some((at, item)) = next else { break };
            (here, line) = (item, at);
        }
        line
    }
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let node = Spanned::<Node>::deserialize(deserializer)?;
        Ok(Self { node: node.value, line: line(&node.referenced) })
    }
}

fn line(location: &serde_saphyr::Location) -> usize {
    usize::try_from(location.line()).unwrap_or(usize::MAX)
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Nodes)
    }
}

struct Nodes;

impl<'de> Visitor<'de> for Nodes {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any YAML")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Scalar(Number::from_f64(value).map_or(Value::Null, Value::Number)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut fields = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let at = line(&key.referenced);
            fields.push((Key { name: key.value, line: at }, map.next_value()?));
        }
        Ok(Node::Map(fields))
    }
}
