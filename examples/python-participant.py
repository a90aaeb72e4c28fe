"""A member of a Waybill task in Python, written from docs/api.md and /openapi.json alone.

    pip install eth-account requests rfc8785 tenacity
    python python-participant.py send    DEPLOYMENT.json KEYFILE TASK TAG FILE RECIPIENT...
    python python-participant.py receive DEPLOYMENT.json KEYFILE TASK TAG FILE SENDER

KEYFILE holds a private key in hex. `send` ends when every recipient has answered or is late, `receive` when its receipt stands
on the chain. Only key, deployment and task id are trusted: whatever the server says is checked against them. Run the same
command again after a failure: parts that are stored are not sent twice, and who has a notice gets no second one.
"""
import base64, collections, concurrent.futures, hashlib, json, os, pathlib, sys, time
import requests, rfc8785, tenacity, urllib3
from eth_abi import encode
from eth_account import Account, messages
from eth_utils import keccak

TIMEOUT = 600  # seconds that recipients get, and that a receiver waits for a notice
PAGE = 104  # members in a page: the bits of a notice
MOST = 64 * 2**20  # bytes of an answer, which may be a part
OUTCOMES = {"VERIFIED": 1, "CORRUPT": 2, "TOO_LARGE": 3, "REFUSED": 4}
TYPES = {name: [dict(zip(("type", "name"), field.split())) for field in fields.split(",")] for name, fields in {
    "Open": "address owner,bytes32 salt,address[] members",
    "Admit": "bytes32 task,address[] members,uint32 roster",
    "Expel": "bytes32 task,address[] members,uint32 roster",
    "Notice": "bytes32 task,address sender,uint16 page,uint256 recipients,bytes32 transfer,bytes32 manifest,uint48 deadline",
    "Receipt": "bytes32 task,bytes32 notice,uint8 outcome",
    "Withdraw": "bytes32 task,bytes32 notice"}.items()}

class Refused(SystemExit):  # what came instead of an answer, and after how many seconds the same may succeed (None: never)
    def __init__(self, code, detail, wait=None):
        super().__init__(f"{code}: {detail}")
        self.problem, self.wait = code, wait

again = tenacity.retry(
    retry=tenacity.retry_if_exception(lambda error: getattr(error, "wait", None) is not None), reraise=True,
    wait=lambda state: min(60, max(2**state.attempt_number / 8, state.outcome.exception().wait)), stop=tenacity.stop_after_attempt(6))

def check(true, what):
    if not true: raise SystemExit(f"Not to be believed: {what}.")
def b64(data): return base64.b64encode(data).decode()
def sha256(data): return hashlib.sha256(data).digest()
def hexed(data): return "0x" + bytes(data).hex()
def parts_of(size, part_size): return -(-size // part_size) or 1  # no bytes are one empty part

class Member:  # one account in one task, over HTTPS
    def __init__(self, deployment, keyfile, task):
        with open(deployment) as file: self.to = json.load(file)
        with open(keyfile) as file: self.key = Account.from_key(file.read().strip())
        self.account, self.task, self.origin = self.key.address.lower(), task.lower(), self.to["api"].rstrip("/")
        self.http, self.skew = requests.Session(), 0  # heeds HTTPS_PROXY and REQUESTS_CA_BUNDLE; the server's clock is so far ahead
        self.restart()

    # ---- requests, signed (ERC-8128) or by a presigned URL
    def signed(self, method, path, query, body):
        values = {"@authority": self.origin.split("://")[1], "@method": method, "@path": path}  # in this order
        headers = {"Content-Type": "application/json"} if body else {}
        if query: values["@query"] = query
        if body: headers["Content-Digest"] = values["content-digest"] = f"sha-256=:{b64(sha256(body))}:"
        now = int(time.time() + self.skew)
        nonce = "" if method == "GET" else f';nonce="{base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")}"'
        params = (f"({' '.join(json.dumps(name) for name in values)});created={now};expires={now + 60}{nonce}"
                  f';keyid="erc8128:{self.to["chainId"]}:{self.account}"')
        base = "".join(f'"{name}": {value}\n' for name, value in values.items()) + f'"@signature-params": {params}'
        signature = self.key.sign_message(messages.encode_defunct(text=base)).signature
        return headers | {"Signature-Input": f"eth={params}", "Signature": f"eth=:{b64(signature)}:"}

    @again
    def call(self, method, path, body=None, query=""):  # may be repeated: each try is signed anew
        path, data = f"/v1/tasks/{self.task}{path}", b"" if body is None else json.dumps(body).encode()
        status, headers, text = self.ask(method, self.origin + path + query, self.signed(method, path, query, data), data)
        if text[:1] != b"{": raise Refused("UNREACHABLE", f"{self.origin} gives no answer that is the API's.", 0)
        answer = json.loads(text)
        if status < 300: return answer
        wait = float(headers.get("Retry-After", 0)) if answer["code"] in ("UNAVAILABLE", "INTERNAL", "RATE_LIMITED") else None
        ahead = answer.get("serverTime", 0) - time.time()
        if answer["code"] == "CLOCK_SKEW" and abs(ahead) < 1800: self.skew, wait = ahead, 0
        raise Refused(answer["code"], answer["detail"], wait)

    def ask(self, method, url, headers, body=None):
        """One request: no redirect is followed, and no more is read than MOST bytes. A presigned URL is a secret."""
        check(url.startswith((self.origin + "/", self.to["storeOrigin"] + "/")), "a URL that leads past the store")
        try:
            with self.http.request(method, url, headers=headers, data=body, timeout=35, allow_redirects=False, stream=True) as answer:
                data = answer.raw.read(MOST + 1, decode_content=False)
        except (requests.RequestException, urllib3.exceptions.HTTPError):
            raise Refused("UNREACHABLE", "no answer, from the API or the store. Run the same command again.", 0)
        check(len(data) <= MOST and not 300 <= answer.status_code < 400, "an answer that is too long, or redirects")
        return answer.status_code, answer.headers, data

    # ---- statements (EIP-712)
    def typed(self, name, values):
        domain = {"name": "Waybill", "version": "1", "chainId": self.to["chainId"], "verifyingContract": self.to["contract"]}
        return messages.encode_typed_data(domain, {name: TYPES[name]}, {field["name"]: values[field["name"]] for field in TYPES[name]})

    def sign(self, name, values): return hexed(self.key.sign_message(self.typed(name, values)).signature)
    def signer(self, name, values, signature):
        return Account.recover_message(self.typed(name, values), signature=signature).lower()
    def notice_id(self, notice):  # of its struct hash and its author, each a word of 32 bytes
        return hexed(keccak(self.typed("Notice", notice).body + bytes(12) + bytes.fromhex(notice["sender"][2:])))

    # ---- the task as its signed events tell it: a server can withhold them, not forge them
    def restart(self):
        self.seq, self.block, self.cursor, self.now = 0, 0, "?after=0&block=0", 0
        self.accounts, self.index, self.notices = [], {}, {}  # by index; indices of active accounts; by id

    def follow(self, found, timeout=TIMEOUT + 120):
        """Reads events until `found` says something, or `timeout` seconds are over."""
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            try: answer = self.call("GET", "/events", query=self.cursor)
            except Refused as refusal:
                if refusal.problem != "CONFLICT": raise
                self.restart()  # a reorganisation has replaced what was read
                continue
            for event in answer["events"]: self.apply(event)
            self.now = answer["head"]["timestamp"]  # the chain's time: deadlines are judged by it
            if answer["events"]: continue
            if (result := found()) is not None: return result  # when we have caught up
            time.sleep(answer["poll"] / 1000)

    def apply(self, event):
        check(event["task"] == self.task and event["seq"] == self.seq + 1 and event["prevBlock"] == self.block, "a gap")
        self.seq, self.block = event["seq"], event["block"]
        self.cursor = f"?after={self.seq}&block={self.block}&hash={event['blockHash']}"
        match event["type"]:  # the others tell nothing that matters here
            case "opened" | "admitted" | "expelled" as change:
                if change == "opened":
                    self.owner = event["owner"]
                    committed = encode(["address", "bytes32"], [self.owner, bytes.fromhex(event["salt"][2:])])
                    check(hexed(keccak(committed)) == self.task, "another task's opening")
                name = {"opened": "Open", "admitted": "Admit", "expelled": "Expel"}[change]
                check(self.signer(name, event, event["signature"]) == self.owner, "who is a member")
                for account in event["members"]:
                    if change == "expelled": self.index.pop(account, None)
                    elif account not in self.index: self.index[account] = len(self.accounts); self.accounts.append(account)
            case "noticed":
                notice = event | {"recipients": int(event["recipients"], 16), "withdrawn": False}
                if self.signer("Notice", notice, event["signature"]) != notice["sender"]: return  # a contract wallet's: needs a node
                check(notice["sender"] in self.index, "a stranger's notice")
                to = [self.accounts[notice["page"] * PAGE + bit] for bit in range(PAGE) if notice["recipients"] >> bit & 1]
                self.notices[self.notice_id(notice)] = notice | {"answers": dict.fromkeys(to)}
            case "receipts":
                for group in event["receipts"]:
                    receipt = {"task": self.task, "notice": group["notice"], "outcome": OUTCOMES[group["outcome"]]}
                    answers = self.notices.get(group["notice"], {"answers": {}})["answers"]  # a contract wallet's is not there
                    for author in [self.signer("Receipt", receipt, signature) for signature in group["signatures"]]:
                        check(author in self.index and not answers.get(author), "a receipt")
                        answers[author] = group["outcome"]
            case "withdrawn":
                notice = self.notices.get(event["notice"])
                if notice and self.signer("Withdraw", event, event["signature"]) == notice["sender"]: notice["withdrawn"] = True

    def of(self, sender, transfer):
        return {id: one for id, one in self.notices.items() if (one["sender"], one["transfer"]) == (sender, transfer)}
    def may_answer(self, account, notice):
        return notice["answers"].get(account, "not for it") is None and not notice["withdrawn"] and notice["deadline"] > self.now

    # ---- sending
    def send(self, tag, path, recipients):
        check(self.follow(lambda: all(who in self.index for who in recipients)), "a recipient who is no active member")
        transfer, size = hexed(keccak(text=tag)), os.path.getsize(path)
        plan = self.call("POST", "/transfers", {"transfer": transfer, "size": size})
        with open(path, "rb") as file:
            read = lambda number: os.pread(file.fileno(), plan["partSize"], (number - 1) * plan["partSize"])
            parts = [{"number": number, "length": len(data := read(number)), "sha256": b64(sha256(data))}
                     for number in range(1, parts_of(size, plan["partSize"]) + 1)]
            if plan["state"] == "open": self.upload(f"/transfers/{transfer}/parts", parts, read)
        whole = sha256(b"".join(base64.b64decode(part["sha256"]) for part in parts))
        manifest = rfc8785.dumps({  # whoever sends the same bytes writes the same
            "version": 1, "tag": tag, "size": size, "partSize": plan["partSize"], "contentType": plan["contentType"],
            "parts": [part["sha256"] for part in parts], "checksum": f"{b64(whole)}-{len(parts)}"})
        finish = {"manifest": b64(manifest), "notices": []}
        while (done := self.call("POST", f"/transfers/{transfer}/finish", finish))["state"] == "completing": time.sleep(2)
        deadline = done["head"]["timestamp"] + TIMEOUT
        self.notify(transfer, hexed(sha256(manifest)), recipients, deadline)
        def answers():
            told = {who: answer for one in self.of(self.account, transfer).values() for who, answer in one["answers"].items() if answer}
            if self.now > deadline or all(who in told or who not in self.index for who in recipients):
                return {who: told.get(who) for who in recipients}
        return self.follow(answers)

    def upload(self, path, parts, read):
        held = {(part["number"], part["sha256"]) for part in self.call("GET", path)["parts"]}
        @again
        def put(part):
            [grant] = self.call("POST", path, {"parts": [part]})["urls"]  # good for 15 minutes, and for these bytes alone
            status, *_ = self.ask("PUT", grant["url"], grant["headers"], read(part["number"]))
            if status != 200: raise Refused("UNREACHABLE", f"the store answers {status}. Run the same command again.", 0)
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            list(pool.map(put, [part for part in parts if (part["number"], part["sha256"]) not in held]))

    def notify(self, transfer, manifest, recipients, deadline):  # of each page those who neither verified it nor have a notice
        done = {who for one in self.of(self.account, transfer).values() for who, answer in one["answers"].items()
                if answer == "VERIFIED" or self.may_answer(who, one)}
        pages = collections.defaultdict(dict)
        for who in set(recipients) - done: pages[self.index[who] // PAGE][self.index[who] % PAGE] = who
        for page, who in pages.items():
            notice = {"task": self.task, "sender": self.account, "page": page, "recipients": sum(1 << bit for bit in who),
                      "transfer": transfer, "manifest": manifest, "deadline": deadline}
            wire = notice | {"kind": "notice", "recipients": f"0x{notice['recipients']:064x}"}
            signed = {"notice": wire, "signature": self.sign("Notice", notice), "recipients": [who[bit] for bit in sorted(who)]}
            self.call("POST", f"/transfers/{transfer}/finish", {"notices": [signed]})

    # ---- receiving
    def receive(self, tag, path, sender):
        offers = lambda: (id for id, one in self.of(sender, hexed(keccak(text=tag))).items() if self.may_answer(self.account, one))
        id = self.follow(lambda: next(offers(), None), TIMEOUT)
        if id is None: raise SystemExit(f"{sender} has sent nothing under this tag in {TIMEOUT} s.")
        outcome = "VERIFIED" if self.download(id, tag, path + ".part") else "CORRUPT"
        if outcome == "VERIFIED": os.link(path + ".part", path)  # which overwrites nothing
        pathlib.Path(path + ".part").unlink(missing_ok=True)
        signature = self.sign("Receipt", {"task": self.task, "notice": id, "outcome": OUTCOMES[outcome]})
        self.call("POST", "/receipts", {"notice": id, "outcome": outcome, "signature": signature})
        late = lambda: None if self.may_answer(self.account, self.notices[id]) else "LATE"
        return self.follow(lambda: self.notices[id]["answers"][self.account] or late()) or "LATE"

    def download(self, id, tag, path):
        """Every part into `path`, each verified by the manifest to which the sender's signed notice commits."""
        grants = [self.call("POST", f"/notices/{id}/download")]
        text = base64.b64decode(grants[0]["manifest"])
        check(hexed(sha256(text)) == self.notices[id]["manifest"], "a manifest that the notice does not commit to")
        manifest = json.loads(text)  # from here on it is the sender's word
        size, part_size, digests = manifest["size"], manifest["partSize"], manifest["parts"]
        if manifest["tag"] != tag or part_size > MOST or len(digests) != parts_of(size, part_size): return False
        @again
        def fetch(first, last):
            headers = grants[-1]["headers"] | {"Range": f"bytes={first}-{last}"}
            status, headers, data = self.ask("GET", grants[-1]["url"], headers)
            if status == 403: grants.append(self.call("POST", f"/notices/{id}/download"))  # its time was over
            if (status, headers.get("Content-Range"), len(data)) == (206, f"bytes {first}-{last}/{size}", last - first + 1): return data
            raise Refused("UNREACHABLE", f"the store answers {status}. Run the same command again.", 0)
        def get(i):
            first, last = i * part_size, min(size, (i + 1) * part_size) - 1
            for _ in range(2):  # wrong bytes twice are what the store holds
                data = fetch(first, last) if last >= first else b""
                if b64(sha256(data)) == digests[i]: return os.pwrite(file.fileno(), data, first) == len(data)
            return False
        with open(path, "wb") as file, concurrent.futures.ThreadPoolExecutor(4) as pool:
            complete = all(pool.map(get, range(len(digests))))
            os.fsync(file.fileno())
        return complete

if __name__ == "__main__":
    if len(sys.argv) < 8 or sys.argv[1] not in ("send", "receive"): raise SystemExit(__doc__)
    what, deployment, keyfile, task, tag, path, *accounts = sys.argv[1:]
    member, accounts = Member(deployment, keyfile, task), [account.lower() for account in accounts]
    if what == "receive" and os.path.exists(path): raise SystemExit(f"{path} is there already.")
    answers = member.send(tag, path, accounts) if what == "send" else {accounts[0]: member.receive(tag, path, accounts[0])}
    for account in accounts: print(account, answers and answers[account] or "has not answered in time")
    sys.exit(0 if answers and set(answers.values()) == {"VERIFIED"} else 1)
