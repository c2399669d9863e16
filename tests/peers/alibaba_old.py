"""The older Alibaba SDK: RPC signature v1 over plain HTTP, all parameters in the URL."""

import json

from aliyunsdkcore.acs_exception.exceptions import ClientException, ServerException
from aliyunsdkcore.auth.credentials import AccessKeyCredential, StsTokenCredential
from aliyunsdkcore.client import AcsClient
from aliyunsdkecs.request.v20140526.CreateSnapshotRequest import CreateSnapshotRequest
from aliyunsdkecs.request.v20140526.DeleteSnapshotRequest import DeleteSnapshotRequest
from aliyunsdkecs.request.v20140526.DescribeDisksRequest import DescribeDisksRequest
from aliyunsdkecs.request.v20140526.DescribeInstancesRequest import DescribeInstancesRequest
from aliyunsdkecs.request.v20140526.DescribeSnapshotsRequest import DescribeSnapshotsRequest
from aliyunsdkecs.request.v20140526.RebootInstanceRequest import RebootInstanceRequest
from aliyunsdkecs.request.v20140526.StartInstanceRequest import StartInstanceRequest
from aliyunsdkecs.request.v20140526.StopInstanceRequest import StopInstanceRequest
from aliyunsdksts.request.v20150401.AssumeRoleRequest import AssumeRoleRequest
from aliyunsdksts.request.v20150401.GetCallerIdentityRequest import GetCallerIdentityRequest

from report import equal, refused, until

SDK = "ali-old"
REGION = "cn-hangzhou"
INSTANCE = "i-bp18l0uopocfc98xxxx"
SMALL = "i-bp1h6jymt9ki9tmp0001"


def code(error):
    return error.get_error_code() if isinstance(error, (ClientException, ServerException)) else repr(error)


class Old:
    def __init__(self, url, credential):
        self.endpoint = url.removeprefix("http://")
        self.client = AcsClient(region_id=REGION, credential=credential, auto_retry=False, timeout=10)

    def call(self, request, **parameters):
        request.set_endpoint(self.endpoint)
        request.set_protocol_type("http")
        for name, value in parameters.items():
            getattr(request, f"set_{name}")(value)
        return json.loads(self.client.do_action_with_exception(request))


def run(report, control, url, keys):
    key, sts = keys["alibaba"], keys["alibaba_sts"]
    ecs = Old(url, AccessKeyCredential(key["access_key_id"], key["access_key_secret"]))
    check = lambda what: report.check(SDK, what)

    with check("DescribeInstances"):
        answer = ecs.call(DescribeInstancesRequest(), InstanceIds=json.dumps([INSTANCE]))
        equal([i["Status"] for i in answer["Instances"]["Instance"]], ["Running"])
    with check("DescribeDisks, default page of ten"):
        answer = ecs.call(DescribeDisksRequest(), InstanceId=INSTANCE)
        equal((answer["TotalCount"], len(answer["Disks"]["Disk"]), answer["PageSize"]), (12, 10, 10))
        second = ecs.call(DescribeDisksRequest(), InstanceId=INSTANCE, PageNumber=2)
        disks = {d["DiskId"] for d in answer["Disks"]["Disk"] + second["Disks"]["Disk"]}
        equal(len(disks), 12)
    with check("DescribeDisks without an instance is the region"):
        equal(ecs.call(DescribeDisksRequest(), PageSize=100)["TotalCount"], 19)
    with check("CreateSnapshot, client token, DescribeSnapshots, DeleteSnapshot"):
        snapshot(ecs, control, sorted(disks)[0])
    with check("Stop, Start, RebootInstance"):
        power(ecs)
    with check("wrong secret"):
        wrong = Old(url, AccessKeyCredential(key["access_key_id"], "wrong"))
        # The server's string to sign equals the SDK's own, which it reports in its own words.
        with refused(code, "InvalidAccessKeySecret"):
            wrong.call(DescribeDisksRequest())
    with check("unknown key"), refused(code, "InvalidAccessKeyId.NotFound"):
        Old(url, AccessKeyCredential("LTAInobody", "x")).call(DescribeDisksRequest())
    with check("STS triple, AssumeRole, GetCallerIdentity"):
        security_token(url, sts)
    with check("answers in XML"):
        request = DescribeDisksRequest()
        request.set_accept_format("XML")
        request.set_endpoint(ecs.endpoint)
        request.set_protocol_type("http")
        request.set_InstanceId(SMALL)
        # `do_action_with_exception` would ask for JSON whatever is set.
        body = ecs.client.do_action(request).decode()
        equal((body.count("<DiskId>"), body.count("<DescribeDisksResponse>")), (1, 1))
    with check("fault: throttled once, then served"):
        control.fault("ecs:DescribeInstances", "throttle")
        with refused(code, "Throttling.User"):
            ecs.call(DescribeInstancesRequest())
        ecs.call(DescribeInstancesRequest())


def snapshot(ecs, control, disk):
    before = len(control.effects("CreateSnapshot"))
    asked = {"DiskId": disk, "SnapshotName": "reboot_abcdef", "ClientToken": "peer-old-1", "RetentionDays": 7}
    first = ecs.call(CreateSnapshotRequest(), **asked)
    again = ecs.call(CreateSnapshotRequest(), **asked)
    equal(again["SnapshotId"], first["SnapshotId"])
    with refused(code, "IdempotentParameterMismatch"):
        ecs.call(CreateSnapshotRequest(), **asked | {"SnapshotName": "reboot_other"})
    equal(len(control.effects("CreateSnapshot")) - before, 1)
    with refused(code, "InvalidDiskId.NotFound"):
        ecs.call(CreateSnapshotRequest(), DiskId="d-nothing")
    with refused(code, "InvalidSnapshotName.Malformed"):
        ecs.call(CreateSnapshotRequest(), DiskId=disk, SnapshotName="1")
    with refused(code, "MissingDiskId"):
        ecs.call(CreateSnapshotRequest())
    ids = json.dumps([first["SnapshotId"]])
    shown = lambda: ecs.call(DescribeSnapshotsRequest(), SnapshotIds=ids)["Snapshots"]["Snapshot"][0]
    equal((shown()["SourceDiskId"], shown()["RetentionDays"]), (disk, 7))
    until(lambda: shown()["Status"] == "accomplished" and shown()["Progress"] == "100%")
    ecs.call(DeleteSnapshotRequest(), SnapshotId=first["SnapshotId"])
    with refused(code, "InvalidSnapshotId.NotFound"):
        ecs.call(DeleteSnapshotRequest(), SnapshotId=first["SnapshotId"])


def power(ecs):
    def status():
        answer = ecs.call(DescribeInstancesRequest(), InstanceIds=json.dumps([SMALL]))
        return answer["Instances"]["Instance"][0]["Status"]

    ecs.call(StopInstanceRequest(), InstanceId=SMALL)
    with refused(code, "IncorrectInstanceStatus"):
        ecs.call(RebootInstanceRequest(), InstanceId=SMALL)
    until(lambda: status() == "Stopped")
    ecs.call(StartInstanceRequest(), InstanceId=SMALL)
    until(lambda: status() == "Running")
    ecs.call(RebootInstanceRequest(), InstanceId=SMALL)
    until(lambda: status() == "Running")
    with refused(code, "InvalidInstanceId.NotFound"):
        ecs.call(RebootInstanceRequest(), InstanceId="i-nothing")


def security_token(url, sts):
    triple = (sts["access_key_id"], sts["access_key_secret"])
    client = Old(url, StsTokenCredential(*triple, sts["security_token"]))
    equal(client.call(GetCallerIdentityRequest())["IdentityType"], "AssumedRoleUser")
    with refused(code, "MissingSecurityToken"):
        Old(url, AccessKeyCredential(*triple)).call(GetCallerIdentityRequest())
    with refused(code, "InvalidSecurityToken.MismatchWithAccessKey"):
        Old(url, StsTokenCredential(*triple, "CAISother==")).call(GetCallerIdentityRequest())
    role = {"RoleArn": "acs:ram::1234567890123456:role/reader", "RoleSessionName": "peer"}
    made = client.call(AssumeRoleRequest(), **role)["Credentials"]
    assumed = StsTokenCredential(made["AccessKeyId"], made["AccessKeySecret"], made["SecurityToken"])
    arn = Old(url, assumed).call(GetCallerIdentityRequest())["Arn"]
    equal(arn, "acs:ram::1234567890123456:assumed-role/reader/peer")
    with refused(code, "InvalidParameter.RoleArn"):
        client.call(AssumeRoleRequest(), **role | {"RoleArn": "reader"})
