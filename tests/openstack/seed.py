"""seed.py: writes what standard input describes into the database of Nova's first cell, without scheduler and hypervisor.

    {"host": "compute-1", "servers": [{"uuid": …, "name": …, "metadata": {…}, "flavor": "1", "vm_state": "active", "deleted": false,
     "host": …, "image": …, "instance_name": …}], "groups": [{"uuid": …, "name": …, "members": […]}]}
"""
import datetime
import json
import os
import sys

os.environ["OS_NOVA_DISABLE_EVENTLET_PATCHING"] = "1"
from nova import config, context, objects  # noqa: E402
from nova.network import model as network  # noqa: E402
from oslo_config import cfg  # noqa: E402

FLAVORS = {"1": ("m1.nano", 64, 1, 1, 0), "2": ("m1.small", 2048, 2, 20, 5)}
POWER = {"active": 1, "stopped": 4, "error": 0}

wanted = json.load(sys.stdin)
known = json.load(open("credentials.json"))
config.parse_args(["seed", "--config-file", "nova.conf"])
objects.register_all()
owner, project = known["users"]["demo"], known["projects"]["demo"]
ctx = context.get_admin_context()
ctx.project_id, ctx.user_id = project, owner
flavors = {}
for number, (name, ram, vcpus, disk, ephemeral) in FLAVORS.items():
    try:
        flavors[number] = objects.Flavor.get_by_flavor_id(ctx, number)
    except Exception:
        new = objects.Flavor(
            ctx, flavorid=number, name=name, memory_mb=ram, vcpus=vcpus, root_gb=disk, ephemeral_gb=ephemeral, swap=0,
            rxtx_factor=1.0, is_public=True, disabled=False, extra_specs={"hw:cpu_policy": "shared"})
        new.create()
        flavors[number] = objects.Flavor.get_by_flavor_id(ctx, number)
cell = next(cell for cell in objects.CellMappingList.get_all(ctx) if cell.name == "cell1")


def map_host(host):
    try:
        objects.HostMapping.get_by_host(ctx, host)
    except Exception:
        objects.HostMapping(ctx, host=host, cell_mapping=cell).create()


def create(cctx, one):
    host = one.get("host", wanted.get("host", "compute-1"))
    map_host(host)
    flavor, state, image = flavors[one.get("flavor", "1")], one.get("vm_state", "active"), one.get("image")
    if one.get("name_template"):
        cfg.CONF.set_override("instance_name_template", one["name_template"])
    instance = objects.Instance(
        cctx, uuid=one["uuid"], user_id=owner, project_id=project, host=host, node=host, compute_id=1, launched_on=host,
        display_name=one["name"], hostname="vm", image_ref=image or "", kernel_id="", ramdisk_id="", memory_mb=flavor.memory_mb,
        vcpus=flavor.vcpus, root_gb=flavor.root_gb, ephemeral_gb=flavor.ephemeral_gb, instance_type_id=flavor.id, vm_state=state,
        power_state=POWER.get(state, 0), task_state=None, architecture="x86_64", os_type="linux", availability_zone="nova",
        launched_at=datetime.datetime.now(datetime.timezone.utc), metadata=one.get("metadata", {}),
        system_metadata={"image_base_image_ref": image or ""}, flavor=flavor, old_flavor=None, new_flavor=None, deleted=False,
        locked=False, disable_terminate=False, progress=0, reservation_id="r-seeded", launch_index=0, key_name=None,
        root_device_name="/dev/vda", info_cache=objects.InstanceInfoCache(network_info=network.NetworkInfo([])),
        security_groups=objects.SecurityGroupList(), vm_mode="hvm")
    instance.create()
    objects.InstanceMapping(
        ctx, instance_uuid=one["uuid"], cell_mapping=cell, project_id=project, user_id=owner, queued_for_delete=False).create()
    return instance


with context.target_cell(ctx, cell) as cctx:
    for one in wanted.get("servers", []):
        try:
            instance = objects.Instance.get_by_uuid(cctx, one["uuid"], expected_attrs=["metadata", "info_cache"])
            if "host" in one:
                map_host(one["host"])
                instance.host = one["host"]
            if "name" in one:
                instance.display_name = one["name"]
            instance.save()
        except Exception as error:
            if "NotFound" not in type(error).__name__:
                raise
            instance = create(cctx, one)
        if one.get("deleted"):
            instance.vm_state, instance.task_state = "deleted", None
            instance.save()
            instance.destroy()
for one in wanted.get("groups", []):
    group = objects.InstanceGroup(
        ctx, uuid=one["uuid"], name=one["name"], project_id=project, user_id=owner, policy="anti-affinity", members=[])
    group.create()
    objects.InstanceGroup.add_members(ctx, group.uuid, one["members"])
print("seeded")
