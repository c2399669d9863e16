"""The current Alibaba SDK: ACS3-HMAC-SHA256 by default, and RPC signature v1 on demand."""

import json

from alibabacloud_ecs20140526 import models as ecs
from alibabacloud_ecs20140526.client import Client as EcsClient
from alibabacloud_sts20150401 import models as sts
from alibabacloud_sts20150401.client import Client as StsClient
from alibabacloud_tea_openapi import models as open_api

from report import equal, refused, until

REGION = "cn-hangzhou"
INSTANCE = "i-bp1h6jymt9ki9web0001"
SMALL = "i-bp1h6jymt9ki9tmp0001"


def code(error):
    return getattr(error, "code", repr(error))


def config(url, key, **more):
    return open_api.Config(
        access_key_id=key["access_key_id"],
        access_key_secret=key["access_key_secret"],
        security_token=key.get("security_token"),
        endpoint=url.removeprefix("http://"),
        protocol="http",
        region_id=REGION,
        **more,
    )


def run(report, control, url, keys):
    key = keys["alibaba"]
    for name, algorithm in [("ali-acs3", {}), ("ali-v2", {"signature_algorithm": "v2"})]:
        check = lambda what: report.check(name, what)
        client = EcsClient(config(url, key, **algorithm))
        with check("DescribeInstances"):
            ids = json.dumps([INSTANCE])
            body = client.describe_instances(ecs.DescribeInstancesRequest(region_id=REGION, instance_ids=ids)).body
            equal([i.status for i in body.instances.instance], ["Running"])
        with check("DescribeDisks by NextToken"):
            equal(len(set(all_disks(client))), 19)
        with check("CreateSnapshot, client token, DescribeSnapshots, DeleteSnapshot"):
            snapshot(client, control, name)
        with check("Stop, Start, RebootInstance"):
            power(client)
        with check("wrong secret"), refused(code, "SignatureDoesNotMatch"):
            wrong = EcsClient(config(url, key | {"access_key_secret": "wrong"}, **algorithm))
            wrong.describe_disks(ecs.DescribeDisksRequest(region_id=REGION))
        with check("STS triple, AssumeRole, GetCallerIdentity"):
            security_token(url, keys["alibaba_sts"], algorithm)
        with check("fault: internal error after the change"):
            lost_answer(client, control, name)


def all_disks(client):
    token = None
    while True:
        asked = ecs.DescribeDisksRequest(region_id=REGION, max_results=10, next_token=token)
        body = client.describe_disks(asked).body
        yield from (disk.disk_id for disk in body.disks.disk)
        token = body.next_token
        if not token:
            return


def disk_of(client, at):
    body = client.describe_disks(ecs.DescribeDisksRequest(region_id=REGION, instance_id=INSTANCE)).body
    return body.disks.disk[at].disk_id


def snapshot(client, control, name):
    before = len(control.effects("CreateSnapshot"))
    tag = ecs.CreateSnapshotRequestTag(key="incident", value="e-1")
    asked = {"disk_id": disk_of(client, 1), "snapshot_name": "快照_a", "client_token": f"peer-{name}", "tag": [tag]}
    create = lambda **changed: client.create_snapshot(ecs.CreateSnapshotRequest(**asked | changed)).body.snapshot_id
    first = create()
    equal(create(), first)
    with refused(code, "IdempotentParameterMismatch"):
        create(description="another")
    equal(len(control.effects("CreateSnapshot")) - before, 1)

    def shown():
        asked = ecs.DescribeSnapshotsRequest(region_id=REGION, snapshot_ids=json.dumps([first]))
        return client.describe_snapshots(asked).body.snapshots.snapshot[0]

    equal((shown().snapshot_name, shown().tags.tag[0].tag_value), ("快照_a", "e-1"))
    until(lambda: shown().status == "accomplished")
    client.delete_snapshot(ecs.DeleteSnapshotRequest(snapshot_id=first))


def power(client):
    def status():
        asked = ecs.DescribeInstancesRequest(region_id=REGION, instance_ids=json.dumps([SMALL]))
        return client.describe_instances(asked).body.instances.instance[0].status

    client.stop_instance(ecs.StopInstanceRequest(instance_id=SMALL, force_stop=False))
    until(lambda: status() == "Stopped")
    with refused(code, "DryRunOperation"):
        client.start_instance(ecs.StartInstanceRequest(instance_id=SMALL, dry_run=True))
    client.start_instance(ecs.StartInstanceRequest(instance_id=SMALL))
    until(lambda: status() == "Running")
    client.reboot_instance(ecs.RebootInstanceRequest(instance_id=SMALL))
    until(lambda: status() == "Running")


def security_token(url, key, algorithm):
    identity = lambda key: StsClient(config(url, key, **algorithm)).get_caller_identity().body
    equal(identity(key).identity_type, "AssumedRoleUser")
    with refused(code, "InvalidSecurityToken.MismatchWithAccessKey"):
        identity(key | {"security_token": "CAISother=="})
    asked = sts.AssumeRoleRequest(
        role_arn="acs:ram::1234567890123456:role/reader", role_session_name="peer", duration_seconds=900
    )
    made = StsClient(config(url, key, **algorithm)).assume_role(asked).body.credentials
    assumed = {
        "access_key_id": made.access_key_id,
        "access_key_secret": made.access_key_secret,
        "security_token": made.security_token,
    }
    equal(identity(assumed).arn, "acs:ram::1234567890123456:assumed-role/reader/peer")


def lost_answer(client, control, name):
    control.fault("CreateSnapshot", "error-500-after")
    before = len(control.effects("CreateSnapshot"))
    asked = ecs.CreateSnapshotRequest(disk_id=disk_of(client, 2), client_token=f"peer-lost-{name}")
    with refused(code, "InternalError"):
        client.create_snapshot(asked)
    made = control.effects("CreateSnapshot")
    equal(len(made) - before, 1)
    equal(client.create_snapshot(asked).body.snapshot_id, made[-1]["resource"])
    equal(len(control.effects("CreateSnapshot")) - before, 1)
