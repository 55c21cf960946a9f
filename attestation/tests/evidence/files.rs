//! reference.json and policy.json: every field is required, read strictly and written back.

use neo_secrets_attestation::config::OwnerKey;
use neo_secrets_attestation::json::{JsonError, JsonProblem};
use neo_secrets_attestation::limits;
use neo_secrets_attestation::policy::{AnyOf, Policy, PolicyError};
use neo_secrets_attestation::product::Product;
use neo_secrets_attestation::reference::{Covers, Identity, ReferenceError, ReferenceValues};
use neo_secrets_attestation::verify::CrlRule;
use serde_json::{Value, json};

use crate::evidence::scene::{self, key};
use crate::support::report::ReportBuilder;

const SPEC: &str = include_str!("../../SPEC.md");

/// The example under a heading of SPEC.md.
fn example(heading: &str) -> String {
    let (_, section) = SPEC.split_once(heading).unwrap();
    let lines = section.lines().skip_while(|line| !line.starts_with("    {"));
    lines.take_while(|line| line.starts_with("    ")).collect()
}

fn reference() -> Value {
    let text = example("## 7. reference.json");
    let text = text.replace("HEX96", &format!("{:?}", "9a".repeat(48)));
    serde_json::from_str(&text.replace("HEX64", &format!("{:?}", "9b".repeat(32)))).unwrap()
}

fn policy() -> Value {
    serde_json::from_str(&example("## 8. policy.json")).unwrap()
}

fn read_reference(value: &Value) -> Result<ReferenceValues, JsonError> {
    ReferenceValues::parse(value.to_string().as_bytes()).map_err(|ReferenceError(error)| error)
}

fn read_policy(value: &Value) -> Result<Policy, JsonError> {
    Policy::parse(value.to_string().as_bytes()).map_err(|PolicyError(error)| error)
}

/// Every object in a value, as a JSON pointer.
fn objects(value: &Value, pointer: &str, found: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(fields) => {
            found.push(pointer.to_owned());
            fields.iter().map(|(name, value)| (name.clone(), value)).collect()
        }
        Value::Array(items) => {
            (0..).zip(items).map(|(index, value): (usize, _)| (index.to_string(), value)).collect()
        }
        _ => vec![],
    };
    for (name, child) in children {
        objects(child, &format!("{pointer}/{name}"), found);
    }
}

/// `/measurements/0` and `digest` to `measurements[0].digest`.
fn path(pointer: &str, name: &str) -> String {
    let mut path = String::new();
    for part in pointer.split('/').chain([name]).filter(|part| !part.is_empty()) {
        match part.parse::<usize>() {
            Ok(index) => path += &format!("[{index}]"),
            Err(_) if path.is_empty() => path += part,
            Err(_) => path += &format!(".{part}"),
        }
    }
    path
}

/// Takes each field of a good file away, gives it a value of each kind, adds one, repeats one.
fn every_field<T: std::fmt::Debug>(
    good: &Value,
    read: fn(&Value) -> Result<T, JsonError>,
    text: fn(&str) -> Result<T, JsonError>,
) {
    read(good).unwrap();
    let mut found = vec![];
    objects(good, "", &mut found);
    for pointer in found {
        let names: Vec<String> =
            good.pointer(&pointer).unwrap().as_object().unwrap().keys().cloned().collect();
        for name in names {
            let with = |value: Option<Value>| {
                let mut changed = good.clone();
                let fields = changed.pointer_mut(&pointer).unwrap().as_object_mut().unwrap();
                match value {
                    Some(value) => fields.insert(name.clone(), value),
                    None => fields.remove(&name),
                };
                changed
            };
            let path = path(&pointer, &name);
            let error = read(&with(None)).unwrap_err();
            assert_eq!(error, JsonError { path: path.clone(), problem: JsonProblem::Missing });
            for value in [json!(null), json!(true), json!(-1), json!(1.5), json!(" ")] {
                let error = read(&with(Some(value.clone()))).unwrap_err();
                assert_eq!(error.path, path, "{value}");
                assert!(matches!(error.problem, JsonProblem::Expected(_)), "{error}");
            }
            let value = &good.pointer(&pointer).unwrap()[&name];
            let once = format!("{}:{value}", json!(name));
            let twice = good.to_string().replacen(&once, &format!("{once},{once}"), 1);
            let error = text(&twice).unwrap_err();
            assert_eq!(error.problem, JsonProblem::Repeated, "{path}");
            assert!(error.path.ends_with(&name));
        }
        let mut changed = good.clone();
        changed.pointer_mut(&pointer).unwrap()["comment"] = json!("later");
        let error = read(&changed).unwrap_err();
        let path = path(&pointer, "comment");
        assert_eq!(error, JsonError { path, problem: JsonProblem::Unknown });
    }
}

#[test]
fn every_field_of_the_reference_values() {
    every_field(&reference(), read_reference, |text| {
        ReferenceValues::parse(text.as_bytes()).map_err(|ReferenceError(error)| error)
    });
}

#[test]
fn every_field_of_the_policy() {
    every_field(&policy(), read_policy, |text| {
        Policy::parse(text.as_bytes()).map_err(|PolicyError(error)| error)
    });
}

#[test]
fn the_specification_s_examples() {
    let reference = read_reference(&reference()).unwrap();
    assert_eq!(reference.measurements[0].digest, [0x9A; 48]);
    assert_eq!(reference.measurements[0].covers, Covers::Image);
    assert_eq!(reference.host_data, Identity::Any);
    assert_eq!(reference.inputs[0].sha256, [0x9B; 32]);
    let policy = read_policy(&policy()).unwrap();
    assert_eq!(policy.abi_min.to_string(), "1.51");
    assert_eq!(policy.expires.to_string(), "2027-11-23T00:00:00Z");
    assert_eq!(policy.products[0].product, Product::Genoa);
    assert_eq!(policy.products[0].tcb_floor.microcode, 72);
    assert_eq!(policy.products[0].chips, AnyOf::Any);
    assert_eq!(policy.config.owner_key, OwnerKey::Any);
    assert_eq!(policy.crl, CrlRule::Required);
}

#[test]
fn what_is_written_is_what_is_read() {
    let mut reference = scene::reference();
    reference.measurements[0].covers = Covers::Firmware;
    reference.measurements[0].sev_features = 0x21;
    reference.host_data = Identity::Exactly([1; 32]);
    reference.family_id = Identity::Exactly([2; 16]);
    reference.image_id = Identity::Exactly([3; 16]);
    reference.id_key_digest = Identity::Exactly([4; 48]);
    reference.author_key_digest = Identity::Exactly([5; 48]);
    reference.guest_svn_min = 6;
    assert_eq!(ReferenceValues::parse(reference.to_json().as_bytes()), Ok(reference));

    let mut policy = scene::policy(Product::Turin, &ReportBuilder::new(Product::Turin));
    policy.products[0].cpuid_models = AnyOf::Listed(vec![2, 0x11]);
    policy.products[0].denied_chips = match &policy.products[0].chips {
        AnyOf::Listed(chips) => chips.clone(),
        AnyOf::Any => panic!("the scene's policy lists its chip"),
    };
    let milan = scene::policy(Product::Milan, &ReportBuilder::new(Product::Milan));
    policy.products.extend(milan.products);
    policy.instance_keys = AnyOf::Listed(vec![key([1; 32])]);
    policy.config.owner_key = OwnerKey::Named(key([4; 32]));
    for crl in [CrlRule::Required, CrlRule::MayBeStale, CrlRule::MayBeAbsent] {
        policy.crl = crl;
        assert_eq!(Policy::parse(policy.to_json().as_bytes()), Ok(policy.clone()));
    }
    assert!(policy.to_json().ends_with("}\n"));
}

/// The error of a file with another value at a pointer.
fn with<T>(
    good: &Value,
    read: fn(&Value) -> Result<T, JsonError>,
    pointer: &str,
    value: Value,
) -> Option<JsonError> {
    let mut changed = good.clone();
    *changed.pointer_mut(pointer).unwrap() = value;
    read(&changed).err()
}

#[test]
fn values_of_the_reference_values() {
    let refused = |pointer: &str, value: Value| {
        let error = with(&reference(), read_reference, pointer, value).unwrap();
        assert!(matches!(error.problem, JsonProblem::Expected(_)), "{error}");
        error.path
    };
    assert_eq!(refused("/version", json!(2)), "version");
    for features in ["1", "0x", "0x01", "0X1", "0xA", "+0x1", "0x+1", "0x10000000000000000"] {
        refused("/measurements/0/sevFeatures", json!(features));
    }
    for (pointer, bytes) in [
        ("/hostData", 32),
        ("/familyId", 16),
        ("/imageId", 16),
        ("/idKeyDigest", 48),
        ("/authorKeyDigest", 48),
        ("/measurements/0/digest", 48),
    ] {
        let length = |bytes: usize| json!("0a".repeat(bytes));
        assert_eq!(with(&reference(), read_reference, pointer, length(bytes)), None);
        refused(pointer, length(bytes - 1));
        refused(pointer, length(bytes + 1));
        refused(pointer, json!("0A".repeat(bytes)));
    }
    assert_eq!(with(&reference(), read_reference, "/measurements", json!([])), None);
    let mut repeated = reference();
    let first = repeated["measurements"][0].clone();
    let measurements = repeated["measurements"].as_array_mut().unwrap();
    measurements.push(first);
    measurements[1]["covers"] = json!("firmware");
    let (path, problem) = ("measurements[1].digest".to_owned(), JsonProblem::Repeated);
    assert_eq!(read_reference(&repeated).unwrap_err(), JsonError { path, problem });
}

#[test]
fn values_of_the_policy() {
    let refused = |pointer: &str, value: Value| {
        let error = with(&policy(), read_policy, pointer, value).unwrap();
        assert!(matches!(error.problem, JsonProblem::Expected(_)), "{error}");
        error.path
    };
    let accepted = |pointer: &str, value: Value| {
        assert_eq!(with(&policy(), read_policy, pointer, value), None);
    };
    for version in ["1", "1.", ".1", "1.256", "01.1", "1.1.1", "+1.1", " 1.1"] {
        assert_eq!(refused("/abiMin", json!(version)), "abiMin");
    }
    refused("/expires", json!("2027-11-23"));
    refused("/products/0/product", json!("Rome"));
    let floor = |fmc: bool| {
        let mut floor = policy()["products"][0]["tcbFloor"].clone();
        if fmc {
            floor["fmc"] = json!(1);
        }
        floor
    };
    let entry = |product: &str, fmc: bool, chips: Value| {
        json!([{"product": product, "cpuidModels": "any", "tcbFloor": floor(fmc), "chips": chips,
            "deniedChips": []}])
    };
    // fmc belongs to Turin, and Turin to it.
    accepted("/products", entry("Turin", true, json!("any")));
    let error = with(&policy(), read_policy, "/products", entry("Turin", false, json!("any")));
    let path = "products[0].tcbFloor.fmc".to_owned();
    assert_eq!(error, Some(JsonError { path: path.clone(), problem: JsonProblem::Missing }));
    let error = with(&policy(), read_policy, "/products", entry("Genoa", true, json!("any")));
    assert_eq!(error, Some(JsonError { path, problem: JsonProblem::Unknown }));
    refused("/products/0/tcbFloor/snp", json!(256));
    // Chip ids have their product's length; a masked one is none. Milan needs a list.
    let (long, short) = ("c1".repeat(64), "c1".repeat(8));
    for (product, fmc, right, wrong) in [
        ("Milan", false, &long, &short),
        ("Genoa", false, &long, &short),
        ("Turin", true, &short, &long),
    ] {
        accepted("/products", entry(product, fmc, json!([right])));
        accepted("/products", entry(product, fmc, json!([])));
        assert_eq!(
            refused("/products", entry(product, fmc, json!([wrong]))),
            "products[0].chips[0]"
        );
        let zero = "0".repeat(right.len());
        assert_eq!(
            refused("/products", entry(product, fmc, json!([zero]))),
            "products[0].chips[0]"
        );
        let mut denied = entry(product, fmc, json!([right]));
        denied[0]["deniedChips"] = json!([right, wrong]);
        assert_eq!(refused("/products", denied), "products[0].deniedChips[1]");
    }
    assert_eq!(refused("/products", entry("Milan", false, json!("any"))), "products[0].chips");
    for rule in ["Required", "optional", ""] {
        assert_eq!(refused("/crl", json!(rule)), "crl");
    }
    assert_eq!(refused("/instanceKeys", json!(["AA=="])), "instanceKeys[0]");
    assert_eq!(refused("/cspIds", json!([""])), "cspIds[0]");
    accepted("/config/ownerKey", json!(key([1; 32]).to_string()));
    assert_eq!(refused("/config/quorum", json!(1)), "config");
    assert_eq!(refused("/config/witnesses", json!(["a", "a"])), "config");
}

#[test]
fn entries_of_one_product_do_not_overlap() {
    let products = |models: &[(&str, Value)]| {
        let good = policy()["products"][0].clone();
        let entry = |(product, models): &(&str, Value)| {
            let mut entry = good.clone();
            entry["product"] = json!(product);
            entry["cpuidModels"] = models.clone();
            if *product == "Turin" {
                entry["tcbFloor"]["fmc"] = json!(0);
            }
            entry
        };
        let entries = models.iter().map(entry).collect();
        with(&policy(), read_policy, "/products", entries)
    };
    let (any, low, high) = (json!("any"), json!([16, 17]), json!([160, 161]));
    assert_eq!(products(&[("Genoa", low.clone()), ("Genoa", high.clone())]), None);
    assert_eq!(products(&[("Genoa", any.clone()), ("Turin", any.clone())]), None);
    for second in [any.clone(), low.clone(), json!([160, 17])] {
        for pair in [[low.clone(), second.clone()], [second.clone(), low.clone()]] {
            let [first, second] = pair;
            let error = products(&[("Genoa", first), ("Genoa", second)]).unwrap();
            assert_eq!(error.path, "products[1].cpuidModels");
        }
    }
}

#[test]
fn limits_of_both_files() {
    let long = |limit: usize| vec![b' '; limit + 1];
    let too_long = |limit: usize| JsonProblem::TooLong { got: limit + 1, limit };
    let ReferenceError(error) =
        ReferenceValues::parse(&long(limits::REFERENCE_BYTES_MAX)).unwrap_err();
    assert_eq!(error.problem, too_long(limits::REFERENCE_BYTES_MAX));
    let PolicyError(error) = Policy::parse(&long(limits::POLICY_BYTES_MAX)).unwrap_err();
    assert_eq!(error.problem, too_long(limits::POLICY_BYTES_MAX));
    let error = with(&policy(), read_policy, "/cspIds", json!(vec![""; 16_385])).unwrap();
    assert_eq!(error.problem, JsonProblem::Expected("at most 16384 items".to_owned()));
    let name = |length: usize| json!("n".repeat(length));
    let pointer = "/inputs/0/name";
    assert_eq!(with(&reference(), read_reference, pointer, name(256)), None);
    let error = with(&reference(), read_reference, pointer, name(257)).unwrap();
    assert_eq!(error.path, "inputs[0].name");
}
