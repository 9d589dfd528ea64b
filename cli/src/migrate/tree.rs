//! Making and changing nodes.

use serde_json::Value;

use crate::input::{Item, Key, Node};

/// A node of a value.
pub(super) fn item(value: &Value) -> Item {
    let node = match value {
        Value::Array(items) => Node::List(items.iter().map(item).collect()),
        Value::Object(fields) => {
            Node::Map(fields.iter().map(|(name, below)| (key(name), item(below))).collect())
        }
        scalar => Node::Scalar(scalar.clone()),
    };
    Item { node, line: 0 }
}

/// Fields in the order in which they are given.
pub(super) fn map(fields: Vec<(&str, Item)>) -> Item {
    Item { node: Node::Map(fields.into_iter().map(|(name, below)| (key(name), below)).collect()), line: 0 }
}

/// Fields with their places in the input.
pub(super) fn placed(fields: Vec<(Key, Item)>) -> Item {
    Item { node: Node::Map(fields), line: 0 }
}

/// The key of a field that takes the place of another one: comments go along.
pub(super) fn moved(name: &str, line: usize) -> Key {
    Key { name: name.to_owned(), line }
}

pub(super) fn list(items: Vec<Item>) -> Item {
    Item { node: Node::List(items), line: 0 }
}

pub(super) fn text(value: impl Into<String>) -> Item {
    Item { node: Node::Scalar(Value::String(value.into())), line: 0 }
}

fn key(name: &str) -> Key {
    Key { name: name.to_owned(), line: 0 }
}

/// The fields of a node; none unless it is a map.
pub(super) fn fields(item: &Item) -> &[(Key, Item)] {
    match &item.node {
        Node::Map(fields) => fields,
        _ => &[],
    }
}

/// The items of a node; none unless it is a list.
pub(super) fn items(item: &Item) -> &[Item] {
    match &item.node {
        Node::List(items) => items,
        _ => &[],
    }
}

/// What a path of fields leads to.
pub(super) fn at<'a>(item: &'a Item, path: &[&str]) -> Option<&'a Item> {
    path.iter().try_fold(item, |item, name| item.get(name))
}

/// Sets a field, at the end if it is new.
pub(super) fn set(item: &mut Item, name: &str, value: Item) {
    let Node::Map(fields) = &mut item.node else { return };
    match fields.iter_mut().find(|(key, _)| key.name == name) {
        Some((_, old)) => *old = value,
        None => fields.push((key(name), value)),
    }
}

/// Takes a field out.
pub(super) fn remove(item: &mut Item, name: &str) -> Option<Item> {
    let Node::Map(fields) = &mut item.node else { return None };
    let place = fields.iter().position(|(key, _)| key.name == name)?;
    Some(fields.remove(place).1)
}

/// A field that can be changed.
pub(super) fn get_mut<'a>(item: &'a mut Item, name: &str) -> Option<&'a mut Item> {
    let Node::Map(fields) = &mut item.node else { return None };
    fields.iter_mut().find(|(key, _)| key.name == name).map(|(_, item)| item)
}

/// Takes out what a path leads to, and every map around it that is empty then.
pub(super) fn prune(item: &mut Item, path: &[&str]) {
    let [name, rest @ ..] = path else { return };
    if rest.is_empty() {
        remove(item, name);
    } else if let Some(below) = get_mut(item, name) {
        prune(below, rest);
        if fields(below).is_empty() {
            remove(item, name);
        }
    }
}
