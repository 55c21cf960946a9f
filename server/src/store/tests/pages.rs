//! Pages, which remember what they have shown.

use super::*;

impl Instance {
    /// Two pages in a row, which are the same, and show each secret as it is read alone.
    fn same_pages(&self) -> Vec<Secret> {
        let pages = [self.page(10, 0), self.page(10, 0)];
        let [first, second] = pages;
        assert_eq!(first, second);
        let store = self.store();
        for shown in &first.items {
            assert_eq!(store.secret(&self.grant(), shown.id).unwrap(), *shown);
        }
        first.items
    }
}

#[test]
fn a_page_shows_each_change_at_once() {
    let mut instance = Instance::new();
    let ids: Vec<_> =
        ["a", "b", "c"].iter().map(|name| instance.create(name, "value").unwrap().id).collect();
    let shown = instance.same_pages();
    assert_eq!(shown.iter().map(|secret| secret.id).rev().collect::<Vec<_>>(), ids);

    let description = Field::Set(Description::parse("changed".to_owned()).unwrap());
    instance.update(ids[1], Change { description, ..no_change() }).unwrap();
    let shown = instance.same_pages();
    assert_eq!(shown[1].description.as_ref().unwrap().as_str(), "changed");
    instance.update(ids[1], Change { description: Field::Clear, ..no_change() }).unwrap();
    assert_eq!(instance.same_pages()[1].description, None);
    assert_eq!(instance.same_pages()[1].revision, Revision(3));

    instance.update(ids[2], new_value("another")).unwrap();
    instance.rollback(ids[2], 1).unwrap();
    assert_eq!(instance.same_pages()[0].version, Version(3));

    instance.delete(ids[1]).unwrap();
    let left: Vec<_> = instance.same_pages().iter().map(|secret| secret.id).collect();
    assert_eq!(left, [ids[2], ids[0]]);
    // Another secret of the same name is another.
    let again = instance.create("b", "value").unwrap();
    assert_eq!(instance.same_pages()[0], again);

    let before = instance.same_pages();
    instance.reopen();
    assert_eq!(instance.same_pages(), before);
}

#[test]
fn a_page_has_what_its_key_reaches() {
    let instance = Instance::new();
    for name in ["a", "b", "c"] {
        instance.create(name, "value").unwrap();
    }
    assert_eq!(instance.same_pages().len(), 3);
    let (_, narrow) = instance.key(&[Permission::Read], globs(&["b"]));
    let page = Page { limit: 10, offset: 0, prefix: None };
    for _ in 0..2 {
        let reached = instance.store().list_secrets(&narrow.grant().unwrap(), &page).unwrap();
        let names: Vec<_> = reached.items.iter().map(|secret| secret.name.as_str()).collect();
        assert_eq!((names, reached.total), (vec!["b"], 1));
    }
}

#[test]
fn what_is_gone_is_not_kept_in_memory() {
    let instance = Instance::new();
    let ids = ["a", "b", "c"].map(|name| instance.create(name, "value").unwrap().id);
    let kept = || instance.store().writer.shared.core.opened.len();
    assert_eq!((instance.same_pages().len(), kept()), (3, 3));
    instance.delete(ids[0]).unwrap();
    assert_eq!(kept(), 2);
    instance.update(ids[1], new_value("another")).unwrap();
    assert_eq!(kept(), 1);
    instance.create("d", "value").unwrap();
    assert_eq!((instance.same_pages().len(), kept()), (3, 3));
    let tenant = instance.tenant("tenant");
    assert_eq!(kept(), 3, "what is new takes nothing's place");
    instance.wait(instance.store().delete_account(instance.owner_act(), tenant.id)).unwrap();
    assert_eq!(kept(), 0);
}
