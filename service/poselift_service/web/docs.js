/** Shows the OpenAPI document of this server. */

SwaggerUIBundle({
  url: new URL("openapi.json", document.baseURI).href,
  dom_id: "#swagger-ui",
  deepLinking: true,
  showCommonExtensions: true,
  validatorUrl: null, // which would be another host
});
