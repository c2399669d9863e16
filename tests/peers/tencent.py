"""Tencent's SDK: TC3-HMAC-SHA256 with a JSON body, and with GET."""

from tencentcloud.cbs.v20170312 import cbs_client, models as cbs
from tencentcloud.common import credential
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.cvm.v20170312 import cvm_client, models as cvm

from report import equal, refused, until

SDK = "tencent"
REGION = "ap-shanghai"


def code(error):
    return error.get_code() if isinstance(error, TencentCloudSDKException) else repr(error)


class Clouds:
    def __init__(self, url, key, region=REGION, method="POST"):
        http = HttpProfile(protocol="http", endpoint=url.removeprefix("http://"), reqMethod=method, reqTimeout=10)
        profile = ClientProfile(httpProfile=http)
        identity = credential.Credential(key["secret_id"], key["secret_key"], key.get("token"))
        self.cvm = cvm_client.CvmClient(identity, region, profile)
        self.cbs = cbs_client.CbsClient(identity, region, profile)

    def instance(self, instance_id):
        found = self.cvm.DescribeInstances(filled(cvm.DescribeInstancesRequest(), InstanceIds=[instance_id]))
        return found.InstanceSet[0]


def filled(request, **fields):
    request._deserialize(fields)
    return request


def run(report, control, url, keys):
    key = keys["tencent"]
    clouds = Clouds(url, key)
    check = lambda what: report.check(SDK, what)

    with check("DescribeInstances"):
        equal(clouds.instance("ins-1").InstanceState, "RUNNING")
        zone = {"Name": "zone", "Values": ["ap-shanghai-2"]}
        for client in (clouds, Clouds(url, key, method="GET")):
            found = client.cvm.DescribeInstances(filled(cvm.DescribeInstancesRequest(), Filters=[zone], Limit=1))
            equal((found.TotalCount, len(found.InstanceSet)), (2, 1))
    with check("ResetInstance"):
        reset(clouds, control)
    with check("Stop, Start, RebootInstances"):
        power(clouds)
    with check("cbs DescribeDisks by page"):
        singapore = Clouds(url, key, "ap-singapore").cbs
        page = lambda offset: singapore.DescribeDisks(filled(cbs.DescribeDisksRequest(), Offset=offset, Limit=2))
        equal((page(0).TotalCount, len(page(0).DiskSet), len(page(2).DiskSet)), (3, 2, 1))
    with check("cbs CreateSnapshot, DescribeSnapshots"):
        snapshot(clouds)
    with check("wrong secret"), refused(code, "AuthFailure.SignatureFailure"):
        Clouds(url, key | {"secret_key": "wrong"}).instance("ins-1")
    with check("unknown key"), refused(code, "AuthFailure.SecretIdNotFound"):
        Clouds(url, key | {"secret_id": "AKIDnobody"}).instance("ins-1")
    with check("temporary key"):
        sts = keys["tencent_sts"]
        Clouds(url, sts).instance("ins-1")
        with refused(code, "AuthFailure.TokenFailure"):
            Clouds(url, sts | {"token": "other"}).instance("ins-1")
    with check("expired signature"):
        control.pass_time(301_000)
        try:
            with refused(code, "AuthFailure.SignatureExpire"):
                clouds.instance("ins-1")
        finally:
            control.back_to_real_time()
    with check("fault: rate limit, then the connection drops"):
        control.fault("cvm:DescribeInstances", "throttle")
        with refused(code, "RequestLimitExceeded"):
            clouds.instance("ins-1")
        control.fault("cvm:DescribeInstances", "drop-before")
        with refused(code, "ClientNetworkError"):
            clouds.instance("ins-1")
        clouds.instance("ins-1")


def reset(clouds, control):
    asked = {"InstanceId": "ins-1", "ImageId": "img-1", "LoginSettings": {"KeepImageLogin": "TRUE"}}
    call = lambda **changed: clouds.cvm.ResetInstance(filled(cvm.ResetInstanceRequest(), **asked | changed))
    with refused(code, "InvalidParameterCombination"):
        call(LoginSettings={"KeepImageLogin": "TRUE", "KeyIds": ["skey-1"]})
    with refused(code, "InvalidParameterValue"):
        call(ImageId="img-eb30mz89")
    with refused(code, "InvalidImageId.NotFound"):
        call(ImageId="img-nothing")
    with refused(code, "InvalidInstanceId.NotFound"):
        call(InstanceId="ins-nothing")
    equal(control.effects("ResetInstance"), [])
    request_id = call().RequestId
    shown = clouds.instance("ins-1")
    equal((shown.LatestOperation, shown.LatestOperationState), ("ResetInstance", "OPERATING"))
    equal(shown.LatestOperationRequestId, request_id)
    with refused(code, "OperationDenied.InstanceOperationInProgress"):
        call()
    until(lambda: clouds.instance("ins-1").LatestOperationState == "SUCCESS")
    until(lambda: clouds.instance("ins-1").InstanceState == "RUNNING")
    equal(len(control.effects("ResetInstance")), 1)


def power(clouds):
    ids = ["ins-1", "ins-r8hr2upy"]
    both = lambda state: until(lambda: all(clouds.instance(i).InstanceState == state for i in ids))
    clouds.cvm.StopInstances(filled(cvm.StopInstancesRequest(), InstanceIds=ids, StopType="SOFT"))
    both("STOPPED")
    with refused(code, "UnsupportedOperation.InstanceStateStopped"):
        clouds.cvm.RebootInstances(filled(cvm.RebootInstancesRequest(), InstanceIds=ids))
    clouds.cvm.StartInstances(filled(cvm.StartInstancesRequest(), InstanceIds=ids))
    both("RUNNING")
    clouds.cvm.RebootInstances(filled(cvm.RebootInstancesRequest(), InstanceIds=ids[:1]))
    both("RUNNING")


def snapshot(clouds):
    create = lambda disk: clouds.cbs.CreateSnapshot(
        filled(cbs.CreateSnapshotRequest(), DiskId=disk, SnapshotName="nightly")
    )
    made = create("disk-lab12").SnapshotId
    with refused(code, "ResourceUnavailable.SnapshotCreating"):
        create("disk-lab12")
    with refused(code, "InvalidDiskId.NotFound"):
        create("disk-nothing")
    by_disk = {"Name": "disk-id", "Values": ["disk-lab12"]}

    def shown():
        return clouds.cbs.DescribeSnapshots(filled(cbs.DescribeSnapshotsRequest(), Filters=[by_disk])).SnapshotSet[0]

    equal((shown().SnapshotId, shown().SnapshotName), (made, "nightly"))
    until(lambda: (shown().SnapshotState, shown().Percent) == ("NORMAL", 100))
