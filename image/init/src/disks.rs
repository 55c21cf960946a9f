//! Which block device is the data's and which the configuration's: by names that the host gives
//! them. They are no proof of anything; a wrong disk is refused by what reads it.

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Instant;

use crate::files::read_bounded;
use crate::limits::{DEVICES, DISK_PATIENCE, DISK_PAUSE, SYSFS_BYTES};

/// The data disk's serial number, or its partition's name.
pub const DATA: &str = "neo-secrets-data";
/// The same for the configuration. A serial number has twenty characters at most.
pub const CONFIG: &str = "neo-secrets-conf";

/// A block device, as `/sys` tells of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// Such as `vda` or `nvme0n1p2`.
    pub name: String,
    /// The serial number, of a whole disk.
    pub serial: String,
    /// The partition's name, of a partition of a GPT.
    pub partition: Option<String>,
    /// Whether it is a whole disk with partitions.
    pub is_divided: bool,
}

/// The two devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disks {
    /// The data's.
    pub data: String,
    /// The configuration's.
    pub config: String,
}

/// Why there are no two.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DisksError {
    /// None has that name.
    #[error("no-{}-disk", short(name))]
    Missing {
        /// The name.
        name: &'static str,
    },
    /// More than one could be meant.
    #[error("several-{}-disks", short(name))]
    Several {
        /// The name.
        name: &'static str,
    },
    /// It has partitions: whoever writes to the whole disk writes to each of them.
    #[error("divided-{}-disk", short(name))]
    Divided {
        /// The name.
        name: &'static str,
    },
}

fn short(name: &str) -> &str {
    name.strip_prefix("neo-secrets-").unwrap_or(name)
}

/// Chooses: who is named, by serial number or as a partition; and where no disk is named as the
/// data's, the only whole disk that is neither the configuration's nor divided.
///
/// # Errors
/// [`DisksError`]
pub fn choose(devices: &[Device]) -> Result<Disks, DisksError> {
    let named = |name: &'static str| {
        let is_named =
            |device: &&Device| device.serial == name || device.partition.as_deref() == Some(name);
        only(name, devices.iter().filter(is_named))
    };
    let config = named(CONFIG)?;
    let data = match named(DATA) {
        Err(DisksError::Missing { .. }) => {
            let other = |device: &&Device| {
                device.partition.is_none() && !device.is_divided && device.name != config
            };
            only(DATA, devices.iter().filter(other))?
        }
        named => named?,
    };
    if devices.iter().any(|device| device.name == data && device.is_divided) {
        return Err(DisksError::Divided { name: DATA });
    }
    Ok(Disks { data, config })
}

fn only<'a>(
    name: &'static str,
    mut devices: impl Iterator<Item = &'a Device>,
) -> Result<String, DisksError> {
    match (devices.next(), devices.next()) {
        (None, _) => Err(DisksError::Missing { name }),
        (Some(device), None) => Ok(device.name.clone()),
        (Some(_), Some(_)) => Err(DisksError::Several { name }),
    }
}

/// Looks until both are there, for some seconds.
///
/// # Errors
/// What the last look gave.
pub fn await_disks(block: &Path) -> Result<Disks, DisksError> {
    let began = Instant::now();
    loop {
        match choose(&look(block)) {
            Err(DisksError::Missing { .. }) if began.elapsed() < DISK_PATIENCE => sleep(DISK_PAUSE),
            outcome => return outcome,
        }
    }
}

/// What `/sys/class/block` has; memory and loop devices are none.
pub fn look(block: &Path) -> Vec<Device> {
    let Ok(entries) = std::fs::read_dir(block) else { return Vec::new() };
    let names =
        entries.take(DEVICES).filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let real = names.filter(|name| {
        !["loop", "ram", "zram", "dm-", "md", "sr", "fd"].iter().any(|kind| name.starts_with(kind))
    });
    let mut devices: Vec<_> = real.map(|name| device(block, name)).collect();
    devices.sort_by(|one, other| one.name.cmp(&other.name));
    devices
}

fn device(block: &Path, name: String) -> Device {
    let folder = block.join(&name);
    let text = |file: PathBuf| {
        let bytes = read_bounded(&file, SYSFS_BYTES).unwrap_or_default();
        String::from_utf8_lossy(&bytes).trim().to_owned()
    };
    let serial = ["serial", "device/serial"].map(|file| text(folder.join(file)));
    let serial = serial.into_iter().find(|serial| !serial.is_empty()).unwrap_or_default();
    let is_partition = folder.join("partition").exists();
    let uevent = text(folder.join("uevent"));
    let label = uevent.lines().find_map(|line| line.strip_prefix("PARTNAME="));
    let is_divided = std::fs::read_dir(&folder).is_ok_and(|entries| {
        let mut names = entries.take(DEVICES).filter_map(Result::ok);
        names.any(|entry| entry.path().join("partition").exists())
    });
    let partition = is_partition.then(|| label.unwrap_or_default().to_owned());
    // A partition's serial number is its disk's.
    let serial = if is_partition { String::new() } else { serial };
    Device { name, serial, partition, is_divided }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(name: &str, serial: &str) -> Device {
        Device { name: name.to_owned(), serial: serial.to_owned(), ..Device::default() }
    }

    fn chosen(devices: &[Device]) -> Result<(String, String), DisksError> {
        choose(devices).map(|disks| (disks.data, disks.config))
    }

    fn ok(data: &str, config: &str) -> Result<(String, String), DisksError> {
        Ok((data.to_owned(), config.to_owned()))
    }

    #[test]
    fn names_decide_and_doubt_is_refused() {
        let (data, config) = (disk("vda", DATA), disk("vdb", CONFIG));
        let (other, boot) = (disk("vdc", "x"), Device { is_divided: true, ..disk("vdd", "boot") });
        let on_boot = Device { partition: Some(CONFIG.to_owned()), ..disk("vdd2", "") };
        let esp = Device { partition: Some("esp".to_owned()), ..disk("vdd1", "") };
        let list =
            |devices: &[&Device]| devices.iter().map(|one| (*one).clone()).collect::<Vec<_>>();
        assert_eq!(chosen(&list(&[&config, &data, &other])), ok("vda", "vdb"));
        assert_eq!(chosen(&list(&[&boot, &esp, &on_boot, &other])), ok("vdc", "vdd2"));
        let (several, missing) =
            (|name| Err(DisksError::Several { name }), |name| Err(DisksError::Missing { name }));
        assert_eq!(chosen(&list(&[&config, &other, &disk("vde", "y")])), several(DATA));
        assert_eq!(chosen(&list(&[&config, &data, &disk("vde", DATA)])), several(DATA));
        assert_eq!(chosen(&list(&[&config, &on_boot, &data])), several(CONFIG));
        assert_eq!(chosen(&list(&[&data, &other])), missing(CONFIG));
        assert_eq!(chosen(&list(&[&config, &boot, &esp])), missing(DATA));
        assert_eq!(chosen(&[]), missing(CONFIG));
        let divided = Device { is_divided: true, ..data };
        let on_data = Device { partition: Some(CONFIG.to_owned()), ..disk("vda1", "") };
        let refused = DisksError::Divided { name: DATA };
        assert_eq!(chosen(&list(&[&divided, &on_data])), Err(refused.clone()));
        assert_eq!(chosen(&list(&[&divided, &config, &other])), Err(refused.clone()));
        assert_eq!(refused.to_string(), "divided-data-disk");
        assert_eq!(DisksError::Missing { name: CONFIG }.to_string(), "no-conf-disk");
    }

    #[test]
    fn sys_is_read_as_the_kernel_writes_it() {
        let folder = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        put("vda/serial", "neo-secrets-data");
        put("nvme0n1/device/serial", "AWS123  \n");
        put("nvme0n1/nvme0n1p1/partition", "1\n");
        put("nvme0n1p1/partition", "1\n");
        put("nvme0n1p1/uevent", "DEVTYPE=partition\nPARTNAME=neo-secrets-conf\n");
        put("loop0/serial", "neo-secrets-data");
        let devices = look(folder.path());
        let names: Vec<_> = devices.iter().map(|device| device.name.as_str()).collect();
        assert_eq!(names, ["nvme0n1", "nvme0n1p1", "vda"]);
        assert!(devices[0].is_divided && devices[0].serial == "AWS123");
        assert_eq!(chosen(&devices), ok("vda", "nvme0n1p1"));
        assert_eq!(look(&folder.path().join("none")), []);
    }
}
