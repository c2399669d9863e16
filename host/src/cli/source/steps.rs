//! What a person does in a cloud's console to point it at this host, and to have it send a test event, by kind of source, in English and
//! in Chinese. The names of menus are those of the consoles.

use opsward_core::event::SourceKind;
use opsward_core::id::PolicyName;
use serde_json::{Value, json};

/// A language of texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Lang {
    /// English.
    En,
    /// Chinese.
    Zh,
}

impl Lang {
    /// The one that the terminal is set to, by the variables that decide on messages.
    pub(super) fn of_terminal() -> Self {
        let set = ["LC_ALL", "LC_MESSAGES", "LANG"].into_iter().filter_map(|name| std::env::var(name).ok());
        match set.into_iter().find(|value| !value.is_empty()) {
            Some(value) if value.starts_with("zh") => Self::Zh,
            _ => Self::En,
        }
    }

    /// The text in this language.
    pub(super) fn of<T>(self, en: T, zh: T) -> T {
        match self {
            Self::En => en,
            Self::Zh => zh,
        }
    }
}

/// For whom the events are.
pub(super) fn wanted(lang: Lang, policies: &[PolicyName], names: usize) -> String {
    let list: Vec<&str> = policies.iter().map(PolicyName::as_str).collect();
    let list = list.join(", ");
    match (lang, policies.is_empty()) {
        (Lang::En, true) => "No enabled policy wants events of ECS from this source: without names the rule takes all of them.".to_owned(),
        (Lang::En, false) => format!("{names} events of ECS, for {list}. With the command line of the cloud:"),
        (Lang::Zh, true) => "没有启用的策略需要此来源的 ECS 事件:不写事件名称时,规则会匹配全部事件。".to_owned(),
        (Lang::Zh, false) => format!("{list} 需要的 {names} 个 ECS 事件。使用云命令行:"),
    }
}

/// What to enter in the console.
pub(super) fn console(kind: SourceKind, lang: Lang, url: &str) -> String {
    let (en, zh) = match kind.as_str() {
        "alibaba-cloudmonitor" => (
            "In the console: CloudMonitor > Event Center > System Event > Event-triggered Alert Rules > Create Alert Rule: product ECS, \
             event type, level and names as the policies want; then, under notification methods, URL callback, POST:\n  {url}",
            "在控制台:云监控 > 事件中心 > 系统事件 > 事件报警规则 > 创建报警规则:产品选择 ECS,按策略需要选择事件类型、等级和名称;在通知方式中选择 URL 回调(POST):\n  {url}",
        ),
        "alibaba-eventbridge" => (
            "In the console: EventBridge > Event Buses > default > Event Rules > Create Rule: source acs.ecs (or another), the event types that \
             policies want; target HTTPS, body: complete event, network: public:\n  {url}",
            "在控制台:事件总线 EventBridge > 事件总线 > default > 事件规则 > 创建规则:事件源 acs.ecs(或其他),事件类型按策略需要选择;事件目标选择 HTTPS,Body 选择完整事件,网络类型选择公网:\n  {url}",
        ),
        "alibaba-mns" => (
            "In the console: Simple Message Queue (MNS) > Queues > Create Queue in the region of the source; then CloudMonitor > Event Center > \
             System Event > Event-triggered Alert Rules: as notification method choose that queue. Grant the account's key ReceiveMessage and \
             DeleteMessage on it.",
            "在控制台:轻量消息队列(原 MNS)> 队列列表 > 在来源的地域创建队列;然后云监控 > 事件中心 > 系统事件 > 事件报警规则:通知方式选择该队列。为账号的密钥授予该队列的 ReceiveMessage 和 DeleteMessage 权限。",
        ),
        "alibaba-sls" => (
            "In the console: Simple Log Service > the project and Logstore of the source must exist; CloudMonitor and ActionTrail can deliver \
             events there. Grant the account's key log:GetLogStoreLogs, log:GetCursorOrData and log:ListShards on it.",
            "在控制台:日志服务 SLS > 来源所用的 Project 和 Logstore 必须已存在;云监控和操作审计可将事件投递到其中。为账号的密钥授予 log:GetLogStoreLogs、log:GetCursorOrData 和 log:ListShards 权限。",
        ),
        "alibaba-sls-alert" => (
            "In the console: Simple Log Service > the project > Alerts > Action Management > Webhook Integration > Create: Universal Webhook, POST; \
             use it in the action policy of the alert rule:\n  {url}",
            "在控制台:日志服务 SLS > Project > 告警 > 通知管理 > Webhook 集成 > 创建:通用 Webhook,POST;在告警规则的行动策略中使用它:\n  {url}",
        ),
        "alibaba-fc" => (
            "A function's triggers stay where they are: have the function post what it is handed, unchanged, to\n  {url}",
            "函数的触发器保持不变:让函数把收到的事件原样 POST 到\n  {url}",
        ),
        "tencent-monitor" => (
            "In the console: Tencent Cloud Observability Platform > Alarm Management > Notification Template > Create: under API callback enter\n  {url}\n\
             and use the template in the alarm policies. The callback must be reachable from the internet on ports 80, 443 or 8080.",
            "在控制台:腾讯云可观测平台 > 告警管理 > 通知模板 > 新建:在接口回调中填写\n  {url}\n并在告警策略中使用该模板。回调地址必须可从公网访问。",
        ),
        "tencent-eventbridge" => (
            "In the console: EventBridge > Event Rules > Create: event source Cloud Virtual Machine (or another), the types that policies want; delivery \
             target: HTTP(S), public:\n  {url}",
            "在控制台:事件总线 > 事件规则 > 新建:云服务选择云服务器(或其他),事件类型按策略需要选择;事件目标选择 HTTP(S) 投递,公网:\n  {url}",
        ),
        "tencent-cls" => (
            "A function's CLS trigger stays where it is: have the function post what it is handed, unchanged, to\n  {url}",
            "函数的 CLS 触发器保持不变:让函数把收到的事件原样 POST 到\n  {url}",
        ),
        "tencent-scf" => (
            "A function's triggers stay where they are: have the function post what it is handed, unchanged, to\n  {url}",
            "函数的触发器保持不变:让函数把收到的事件原样 POST 到\n  {url}",
        ),
        "logfile" => (
            "Nothing is to be set up: the host reads the file, which its user must be allowed to read, and the directory that it is in.",
            "无需设置:宿主直接读取该文件;运行宿主的用户必须有权读取该文件及其所在目录。",
        ),
        _ => ("Have the sender post to\n  {url}", "让发送方 POST 到\n  {url}"),
    };
    lang.of(en, zh).replace("{url}", url)
}

/// How to have a test event sent, of that name and as that.
pub(super) fn drill(kind: SourceKind, lang: Lang, url: &str, (name, event): (&str, &Value)) -> String {
    let (en, zh) = match kind.as_str() {
        _ if has_test_event(kind) => (DRY_RUN_EN, DRY_RUN_ZH),
        "alibaba-eventbridge" => (
            "In the console: EventBridge > Event Buses > default > Publish Event, with a source and type that the rule matches.",
            "在控制台:事件总线 EventBridge > 事件总线 > default > 发布事件,事件源和类型须与规则匹配。",
        ),
        "tencent-monitor" => (
            "In the console: Alarm Management > Notification Template > the template > Test.",
            "在控制台:告警管理 > 通知模板 > 该模板 > 测试。",
        ),
        "tencent-eventbridge" => (
            "In the console: EventBridge > Event Buses > Send Event, with a source and type that the rule matches.",
            "在控制台:事件总线 > 事件集 > 发送事件,事件源和类型须与规则匹配。",
        ),
        "logfile" => {
            ("Append a line that the pattern matches to the log.", "向日志追加一行与 pattern 匹配的内容。")
        }
        "cloudevents" => (
            "curl -X POST -H 'content-type: application/cloudevents+json' \\\n  -d '{\"specversion\":\"1.0\",\"id\":\"drill-'\"$(date +%s)\"'\",\"source\":\"drill\",\"type\":\"opsward.drill\"}' \\\n  \"{url}\"",
            "curl -X POST -H 'content-type: application/cloudevents+json' \\\n  -d '{\"specversion\":\"1.0\",\"id\":\"drill-'\"$(date +%s)\"'\",\"source\":\"drill\",\"type\":\"opsward.drill\"}' \\\n  \"{url}\"",
        ),
        _ => ("Have the sender send something to\n  {url}", "让发送方发送一个事件到\n  {url}"),
    };
    lang.of(en, zh).replace("{url}", url).replace("{name}", name).replace("{event}", &event.to_string())
}

/// Whether CloudMonitor can be asked for a test event that comes to such a source.
pub(super) fn has_test_event(kind: SourceKind) -> bool {
    matches!(kind, SourceKind::AlibabaCloudmonitor | SourceKind::AlibabaMns | SourceKind::AlibabaSls)
}

/// A test event as CloudMonitor takes it, about an instance that there is not: a policy that is woken finds nothing to change.
pub(super) fn test_event(name: &str, region: &str, id: &str) -> Value {
    let named = name.strip_prefix("Instance:").unwrap_or(name);
    let (kind, status) = named.rsplit_once(':').unwrap_or((named, "Executed"));
    json!({
        "id": id, "product": "ECS", "name": name, "level": "CRITICAL", "status": "Normal", "regionId": region,
        "resourceId": format!("acs:ecs:{region}:0:instance/i-opsward-drill"),
        "content": { "eventId": id, "instanceId": "i-opsward-drill", "eventType": kind, "eventStatus": status },
    })
}

const DRY_RUN_EN: &str = r#"CloudMonitor sends a test event through its rules with

aliyun cms SendDryRunSystemEvent --Product ECS \
  --EventName '{name}' \
  --EventContent '{event}'

It goes through every rule of the account that takes it, as CRITICAL: people may be called. It wakes the policies that match; the instance
it names does not exist. `aliyun ecs CreateSimulatedSystemEvents` makes events of real instances; with TriggerRealOps it really stops or
reboots them: leave that out."#;
const DRY_RUN_ZH: &str = r#"用以下命令让云监控经由其规则发送测试事件:

aliyun cms SendDryRunSystemEvent --Product ECS \
  --EventName '{name}' \
  --EventContent '{event}'

它会以 CRITICAL 级别经过账号下所有匹配的规则,可能会通知到人;它会唤醒匹配的策略;其中的实例并不存在。`aliyun ecs CreateSimulatedSystemEvents` 可为真实实例模拟事件;带 TriggerRealOps 时会真的停止或重启实例:请不要使用该参数。"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_event_is_read_as_the_event_it_stands_for() {
        use opsward_core::event::{Delivery, Transition, decode};
        use opsward_core::time::Timestamp;
        let name = "Instance:SystemFailure.Reboot:Executed";
        let body = test_event(name, "cn-hangzhou", "opsward-drill-1").to_string();
        let delivery = Delivery { headers: &[], body: body.as_bytes() };
        let source = "in".parse().expect("a name");
        let events = decode(SourceKind::AlibabaCloudmonitor, &source, &delivery, Timestamp::from_seconds(0));
        let event = events.expect("readable").remove(0);
        assert_eq!((event.kind.as_str(), event.transition), (name, Some(Transition::Executed)));
        assert_eq!(event.subject.as_deref(), Some("acs:ecs:cn-hangzhou:0:instance/i-opsward-drill"));
        assert!(event.id.starts_with("opsward-drill-1"), "{}", event.id);
    }

    #[test]
    fn every_kind_that_is_posted_is_told_where_to_in_both_languages() {
        use opsward_core::event::Route;
        for kind in SourceKind::ALL {
            for lang in [Lang::En, Lang::Zh] {
                let text = console(*kind, lang, "https://ops.example.com/hooks/x/t");
                assert_eq!(text.contains("/hooks/x/t"), kind.route() == Route::Posted, "{kind}: {text}");
                assert!(
                    !text.contains("{url}") && !drill(*kind, lang, "u", ("n", &json!({}))).contains("{url}"),
                    "{kind}"
                );
            }
        }
    }
}
