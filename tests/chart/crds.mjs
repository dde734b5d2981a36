// Checks custom objects against the schemas of their definitions: node crds.mjs rendered.yaml
import fs from "node:fs";
import yaml from "yaml";

const packages = {
  "gateway.networking.k8s.io": "@kubernetes-models/gateway-api",
  "keda.sh": "@kubernetes-models/keda",
  "monitoring.coreos.com": "@kubernetes-models/prometheus-operator",
};
for (const document of yaml.parseAllDocuments(fs.readFileSync(process.argv[2], "utf8"))) {
  const found = document.toJS();
  const models = await import(`${packages[found.apiVersion.split("/")[0]]}/${found.apiVersion}`);
  new models[found.kind](found).validate();
}
